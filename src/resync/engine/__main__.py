"""`python -m resync.engine`: one simulated vLLM as a process."""

import sys

import click

from resync.engine.errors import OptionsError
from resync.engine.options import parse
from resync.engine.process import run


def main() -> int:
    """Exit status: 0 after SIGTERM, 1 when an address is taken, 2 for a wrong argument."""
    try:
        return run(parse(sys.argv[1:]))
    except OptionsError as error:
        click.echo(f"resync.engine: {error}", err=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
