"""`python -m resync.load`: the traffic, as a process."""

import sys

import click

from resync.load.errors import OptionsError
from resync.load.options import parse
from resync.load.process import run


def main() -> int:
    """Exit status: 0 after SIGTERM, 1 when the address is taken, 2 for a wrong argument."""
    try:
        options = parse(sys.argv[1:])
    except OptionsError as error:
        click.echo(f"resync.load: {error}", err=True)
        return 2
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
