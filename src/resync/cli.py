"""The console script `resync`; the only module that may import everything."""

import click

from resync.lab.commands import lab


@click.group()
def main() -> None:
    """Does our KV-cache index survive a bad day?"""


main.add_command(lab)
