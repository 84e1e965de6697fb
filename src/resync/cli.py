"""The console script `resync`; the only module that may import everything."""

import click


class _Commands(click.Group):
    """Imports what was named: `lab up` has Prometheus to start, and needs nothing of what judges runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        from resync.run import commands

        return sorted(("lab", *commands.__all__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # likewise
        if cmd_name == "lab":
            from resync.lab.commands import lab

            return lab
        from resync.run import commands

        named: click.Command | None = getattr(commands, cmd_name) if cmd_name in commands.__all__ else None
        return named


@click.group(cls=_Commands)
@click.version_option(package_name="resync")
def main() -> None:
    """Does our KV-cache index survive a bad day?"""
