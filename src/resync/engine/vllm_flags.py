"""Flags of vLLM's server that manifests carry: which mean nothing here, and which never were.

Source: vLLM, `vllm/engine/arg_utils.py` and `vllm/entrypoints/openai/cli_args.py`. What a simulated model has
no use for (weights, precision, GPUs) is taken and has no effect, so a manifest need not be rewritten. A flag
that would change which blocks are held or published, and that is not simulated, is refused like any unknown
one.
"""

from collections.abc import Callable
from typing import Final

import click

_WITH_VALUE: Final = (
    "--dtype",
    "--download-dir",
    "--gpu-memory-utilization",
    "--load-format",
    "--max-model-len",
    "--max-num-batched-tokens",
    "--max-num-seqs",
    "--pipeline-parallel-size",
    "--revision",
    "--swap-space",
    "--tensor-parallel-size",
    "--tokenizer",
    "--uvicorn-log-level",
)
_SWITCHES: Final = (
    "--disable-log-requests",
    "--disable-log-stats",
    "--enable-chunked-prefill",
    "--enable-prefix-caching",
    "--enable-prompt-tokens-details",
    "--enforce-eager",
    "--trust-remote-code",
)
_NEVER_WERE: Final = {
    "--enable-kv-cache-events": '"enable_kv_cache_events": true',
    "--kv-events-publisher": '"publisher": "zmq"',
    "--kv-events-endpoint": '"endpoint": "tcp://*:5557"',
    "--kv-events-replay-endpoint": '"replay_endpoint": "tcp://*:5558"',
}
"""Documented for AIBrix, in no release of vLLM (vllm-project/aibrix issue 1721); the key to use instead."""


def without_effect(command: Callable[..., object]) -> Callable[..., object]:
    """The click command, taking the flags that mean nothing here and not being told of them."""
    for flag in _WITH_VALUE:
        command = click.option(flag, expose_value=False, hidden=True)(command)
    for flag in _SWITCHES:
        command = click.option(flag, is_flag=True, expose_value=False, hidden=True)(command)
    return command


def why_unknown(flag: str) -> str:
    """A sentence about a flag that neither this engine nor, for the documented ones, vLLM has."""
    key = _NEVER_WERE.get(flag)
    if key is None:
        return f"{flag} is no option of this engine: see `python -m resync.engine --help`"
    return (
        f"vLLM has no flag {flag}, though AIBrix's documentation names it (aibrix issue 1721): "
        f"write --kv-events-config '{{{key}, ...}}' instead"
    )
