"""The console script `resync`; the only module that may import everything."""

import click


@click.group()
def main() -> None:
    """Does our KV-cache index survive a bad day?"""
