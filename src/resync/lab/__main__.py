"""`python -m resync.lab ORDER`: a supervisor as `resync lab up` starts it; one answer line goes to stdout."""

import sys

from resync.lab.starting import run_ordered

if __name__ == "__main__":
    sys.exit(run_ordered(sys.argv[1]))
