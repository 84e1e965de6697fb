"""The console script `resync`; the only module that may import everything."""

import click

from resync.lab.commands import lab
from resync.run.commands import audit, preview, suite, sweep, verdict


@click.group()
@click.version_option(package_name="resync")
def main() -> None:
    """Does our KV-cache index survive a bad day?"""


for command in (lab, audit, preview, suite, sweep, verdict):
    main.add_command(command)
