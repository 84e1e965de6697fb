"""The command line of an engine, parsed once into a frozen record."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import click

from resync.engine import flaws, kv_events_config, vllm_flags
from resync.engine.errors import OptionsError
from resync.engine.flaws import Flaw
from resync.engine.kv_events_config import KvEventsConfig
from resync.engine.scheduling import Timing
from resync.kvsync.wire import HashForm, WireForm


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything an engine is told at its start."""

    model: str
    block_size: int
    blocks: int
    kv_events: KvEventsConfig
    wire_form: WireForm
    hash_form: HashForm
    seed: int
    host: str
    pod_key: str
    http_port: int
    timing: Timing
    keep_cache: Path | None
    news_every: int | None
    replay_latency_s: float
    flaw: Flaw


_MS = 1e-3
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  what is asked for, not where it listens
_POSITIVE = click.IntRange(min=1)
_DURATION = click.FloatRange(min=0)


def _values(forms: type[StrEnum]) -> list[str]:
    return [form.value for form in forms]


@click.command("resync.engine", help="A simulated vLLM: KV blocks, KV events, OpenAI completions.")
@click.argument("model_tag", required=False)
@click.option("--model", default="llama2-7b", show_default=True, help="MODEL_TAG is the same")
@click.option("--served-model-name", help="the name it answers to; default: the model")
@click.option("--host", default="0.0.0.0", help="0.0.0.0: the address of the pod")  # noqa: S104
@click.option("--block-size", type=_POSITIVE, default=16, show_default=True, help="tokens per block")
@click.option(
    "--blocks",
    "--num-gpu-blocks-override",
    "blocks",
    type=_POSITIVE,
    default=400,
    show_default=True,
    help="size of the KV cache",
)
@click.option(
    "--kv-events-config", "kv_events", help="JSON, vLLM's keys and defaults; default: on, with replay"
)
@click.option("--wire-form", type=click.Choice(_values(WireForm)), default="map", show_default=True)
@click.option("--hash-form", type=click.Choice(_values(HashForm)), default="int", show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="of the generated tokens; the number at the end of POD_NAME is added",
)
@click.option(
    "--http-port", "--port", "http_port", type=click.IntRange(0, 65_535), default=8000, show_default=True
)
@click.option("--prefill-base-ms", type=_DURATION, default=2.0, show_default=True)
@click.option(
    "--prefill-token-ms", type=_DURATION, default=0.05, show_default=True, help="per uncached token"
)
@click.option("--decode-token-ms", type=_DURATION, default=1.0, show_default=True)
@click.option(
    "--keep-cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="blocks survive a restart: kept in DIR, published anew in batch 0; default: lost, as in vLLM",
)
@click.option(
    "--news-every",
    type=_POSITIVE,
    metavar="N",
    help="every N-th batch also tells an event of a later vLLM; default: none does",
)
@click.option(
    "--replay-latency-ms",
    type=_DURATION,
    default=0.0,
    show_default=True,
    help="until a replay is answered (vLLM: 100 when idle, 700 behind a long answer)",
)
@vllm_flags.without_effect
@click.option("--flaw", default="none", show_default=True, help="deliberate defect, NAME[:AFTER]")
def _command(**raw: Any) -> dict[str, Any]:
    return raw


def parse(arguments: Sequence[str]) -> Options:
    """The options in `arguments` and the environment of the pod. Raises OptionsError with one sentence.

    SystemExit(0) after `--help`.
    """
    try:
        raw = _command.main(list(arguments), prog_name="python -m resync.engine", standalone_mode=False)
    except click.NoSuchOption as error:
        raise OptionsError(vllm_flags.why_unknown(error.option_name)) from error
    except click.ClickException as error:
        raise OptionsError(error.format_message()) from error
    if not isinstance(raw, dict):
        raise SystemExit(0)
    return _options(raw)


def _number_in(pod_name: str) -> int:
    """The pods of a set have one command line: what tells them apart is the number in the name."""
    number = pod_name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _options(raw: dict[str, Any]) -> Options:
    namespace, name = os.environ.get("POD_NAMESPACE", "default"), os.environ.get("POD_NAME", "engine-0")
    tag, model, served, host = (raw.pop(key) for key in ("model_tag", "model", "served_model_name", "host"))
    config, wire_form, hash_form, flaw = (
        raw.pop(key) for key in ("kv_events", "wire_form", "hash_form", "flaw")
    )
    timing = Timing(
        prefill_base_s=raw.pop("prefill_base_ms") * _MS,
        prefill_token_s=raw.pop("prefill_token_ms") * _MS,
        decode_token_s=raw.pop("decode_token_ms") * _MS,
    )
    raw["replay_latency_s"] = raw.pop("replay_latency_ms") * _MS
    return Options(
        seed=raw.pop("seed") + _number_in(name),
        kv_events=kv_events_config.LAB_DEFAULT if config is None else kv_events_config.parse(config),
        wire_form=WireForm(wire_form),
        hash_form=HashForm(hash_form),
        model=served or tag or model,
        host=os.environ.get("POD_BIND_IP", "127.0.0.1") if host in _EVERYWHERE else host,
        pod_key=f"{namespace}/{name}",
        timing=timing,
        flaw=flaws.parse(flaw),
        **raw,
    )
