"""The command line of the load, parsed once into a frozen record."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from resync.load.errors import OptionsError
from resync.load.families import Shape
from resync.load.pacing import Pacing

_PORT = click.IntRange(0, 65_535)
_SHARE = click.FloatRange(0, 1)
_POSITIVE = click.IntRange(min=1)
_ABOVE_ZERO = click.FloatRange(min=0, min_open=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything the load is told at its start."""

    gateway: str
    """Base URL of the gateway."""
    engines: tuple[str, ...]
    """Base URLs of the engines; empty: no bypass, no audit, no filling."""
    model: str
    rate: float
    pacing: Pacing
    seed: int
    shape: Shape
    renewals: float
    """Families that retire, and are born, per second."""
    max_tokens: int
    prefix_share: float
    """Share of the requests that begin with a family's prefix; the others share nothing with anybody."""
    bypass_share: float
    audit_share: float
    fill_blocks: int
    in_flight_max: int
    timeout_s: float
    host: str
    http_port: int


@click.command("resync.load", help="Open-loop completions with a known prefix structure, against a gateway.")
@click.option("--gateway", default="http://127.0.0.1:8080", show_default=True, help="base URL")
@click.option(
    "--engines", default="", help="ip:port,ip:port; without them nothing is bypassed, audited or filled"
)
@click.option("--model", default="llama2-7b", show_default=True)
@click.option("--rate", type=_ABOVE_ZERO, default=30.0, show_default=True, help="requests a second")
@click.option(
    "--pacing", type=click.Choice([pacing.value for pacing in Pacing]), default="poisson", show_default=True
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--block-size", type=_POSITIVE, default=16, show_default=True, help="tokens per block of the engines"
)
@click.option("--window", type=_POSITIVE, default=24, show_default=True, help="prompt families alive at once")
@click.option("--renewals", type=_ABOVE_ZERO, default=2.0, show_default=True, help="new families a second")
@click.option("--max-tokens", type=_POSITIVE, default=8, show_default=True, help="output of each request")
@click.option(
    "--prefix-share", type=_SHARE, default=1.0, show_default=True, help="that begin with a family's prefix"
)
@click.option(
    "--bare-share",
    type=_SHARE,
    default=0.0,
    show_default=True,
    help="of those, that end with the prefix: the engine then holds its last block twice",
)
@click.option(
    "--bypass-share", type=_SHARE, default=0.3, show_default=True, help="sent straight to an engine"
)
@click.option("--audit-share", type=_SHARE, default=0.9, show_default=True, help="of gateway requests")
@click.option(
    "--fill-blocks", type=click.IntRange(min=0), default=400, show_default=True, help="per engine, at start"
)
@click.option(
    "--in-flight-max", type=_POSITIVE, default=256, show_default=True, help="a send beyond is refused"
)
@click.option("--timeout-s", type=_ABOVE_ZERO, default=10.0, show_default=True, help="of one request")
@click.option("--http-port", type=_PORT, default=9101, show_default=True)
def _command(**raw: Any) -> dict[str, Any]:
    return raw


def parse(arguments: Sequence[str]) -> Options:
    """The options in `arguments` and the environment of the pod. Raises OptionsError with one sentence.

    SystemExit(0) after `--help`.
    """
    try:
        raw = _command.main(list(arguments), prog_name="python -m resync.load", standalone_mode=False)
    except click.ClickException as error:
        raise OptionsError(error.format_message()) from error
    if not isinstance(raw, dict):
        raise SystemExit(0)
    shape = Shape(**{name: raw.pop(name) for name in ("block_size", "window", "bare_share")})
    pacing = Pacing(raw.pop("pacing"))
    gateway = _gateway(raw.pop("gateway"))
    engines = _engines(raw.pop("engines"))
    host = os.environ.get("POD_BIND_IP", "127.0.0.1")
    return Options(gateway=gateway, engines=engines, shape=shape, pacing=pacing, host=host, **raw)


def _gateway(text: str) -> str:
    if not text.startswith("http://"):
        raise OptionsError(f"--gateway: {text!r} is not a base URL like http://127.0.0.1:8080")
    return text.rstrip("/")


def _engines(text: str) -> tuple[str, ...]:
    return tuple(_engine(part.strip()) for part in text.split(",") if part.strip())


def _engine(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise OptionsError(f"--engines: {text!r} is not ip:port")
    return f"http://{text}"
