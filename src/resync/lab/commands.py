"""`resync lab up | status | down`.

`up` alone starts a supervisor in a session of its own and returns when the lab is ready; with `--owner-pid`
this process is the supervisor. Everything that can go wrong for a user is one sentence and exit code 2.
"""

import sys
from collections.abc import Callable
from typing import NoReturn

import click
import msgspec

from resync.kits.directories import state_dir
from resync.lab import ending, starting, state
from resync.lab.errors import LabError, NoLabError
from resync.lab.manifests import ENGINES_MAX, LabOptions
from resync.lab.orders import Order
from resync.lab.state import LabState

_NOTHING_RUNS = 1
_REFUSED = 2


def _refuse(error: LabError) -> NoReturn:
    click.echo(f"resync lab: {error}", err=True)
    raise SystemExit(_REFUSED)


@click.group()
def lab() -> None:
    """A whole small cluster on this machine: engines, gateway, observer, load, Prometheus."""


def _appended(role: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    words = f"Append ARG to the {role}'s command line; may be repeated."
    return click.option(f"--{role}-arg", f"{role}_args", multiple=True, metavar="ARG", help=words)


def _foreign(role: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    words = f"Run COMMAND (sh -c) as each {role} pod instead of ours; what it is told is said above."
    return click.option(f"--{role}-cmd", f"{role}_cmd", metavar="COMMAND", help=words)


_SHAPE = (
    click.option("--engines", type=click.IntRange(1, ENGINES_MAX), default=3, show_default=True),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Makes chance in the lab repeatable.",
    ),
    _foreign("engine"),
    _foreign("gateway"),
    _appended("engine"),
    _appended("gateway"),
    _appended("load"),
    click.option("--load/--no-load", default=True, help="Send traffic (default), or leave that to you."),
    click.option("--deaf-link", is_flag=True, help="A network that ignores faults: to test who notices."),
    click.option("--idle-mesh", is_flag=True, help="A mesh that reports kills and makes none: likewise."),
)


def _shaped(function: Callable[..., None]) -> Callable[..., None]:
    """With the options that say how this lab differs from the usual one."""
    for option in reversed(_SHAPE):
        function = option(function)
    return function


@lab.command()
@click.option("--owner-pid", type=int, metavar="PID", help="Stay here, and end when that process ends.")
@click.option("--json", "as_json", is_flag=True, help="Print lab.json instead of sentences.")
@_shaped
def up(owner_pid: int | None, as_json: bool, **shape: object) -> None:  # noqa: FBT001  # click passes by name
    """Bring the lab up; return when all of it is ready.

    Any program can be the gateway or the engines: --gateway-cmd, --engine-cmd. It finds in its environment
    POD_NAME, POD_NAMESPACE, POD_IP (where others reach it), POD_BIND_IP (where it has to listen, and
    connect from), KUBECONFIG, and the ports it has to listen on: PORT_HTTP, for an engine also
    PORT_KV_EVENTS and PORT_KV_REPLAY. It is Ready once PORT_HTTP takes connections; Prometheus asks there
    for /metrics; engines have to serve the model llama2-7b. For example:

    \b
      --engine-cmd 'vllm serve facebook/opt-125m --served-model-name llama2-7b
                    --host $POD_BIND_IP --port $PORT_HTTP'
    """  # noqa: D301  # \\b tells click not to wrap what follows
    for role in ("engine", "gateway"):
        if shape[f"{role}_cmd"] is not None and shape[f"{role}_args"]:
            raise click.UsageError(f"--{role}-arg is for our {role}: write it into --{role}-cmd")
    order = Order(
        directory=str(state_dir()),
        options=msgspec.convert(shape, LabOptions),
        owner_pid=owner_pid,
    )

    def announce(ready: LabState) -> None:
        click.echo(msgspec.json.encode(ready) if as_json else _sentences(ready))
        sys.stdout.flush()

    try:
        if owner_pid is None:
            announce(starting.start_detached(order))
        else:
            starting.run_here(order, announce)
    except LabError as error:
        _refuse(error)


@lab.command()
def status() -> None:
    """Print lab.json; exit code 1 when no lab runs."""
    try:
        click.echo(_json(state.read(state_dir())))
    except NoLabError as error:
        click.echo(f"resync lab: {error}", err=True)
        raise SystemExit(_NOTHING_RUNS) from error
    except LabError as error:
        _refuse(error)


@lab.command()
def down() -> None:
    """End the lab. Exit code 0 also when none runs."""
    try:
        ended = ending.end(state_dir())
    except LabError as error:
        _refuse(error)
    click.echo("The lab has ended." if ended else "No lab runs here.")


def _json(found: LabState) -> str:
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def _sentences(ready: LabState) -> str:
    return f"""The lab is ready.

  kubeconfig  {ready.kubeconfig}
  Prometheus  {ready.prometheus_url}
  gateway     {ready.gateway_url}

Try next:
  export KUBECONFIG={ready.kubeconfig}; kubectl get pods
  chaos run experiments/network-delay.json
  resync lab down"""
