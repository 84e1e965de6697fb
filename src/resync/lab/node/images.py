"""What an image means on a node that runs processes: nothing, but for those the lab has a stand-in for. Pure.

A manifest written for a cluster names `vllm/vllm-openai` and starts its server as `python3 -m
vllm.entrypoints.openai.api_server`, as `vllm serve`, or by the image's own entry point. In the lab all three
are the simulated engine, which takes the same arguments. Any other image says nothing: the command is what
runs. A real vLLM on this machine runs under any other image name, or by `resync lab up --engine-cmd`.
"""

import sys
from typing import Final

from resync.lab.node.objects import Container

_ENGINE: Final = (sys.executable, "-m", "resync.engine")
_SERVER: Final = ("-m", "vllm.entrypoints.openai.api_server")
_STARTS: Final = (("python3", *_SERVER), ("python", *_SERVER), ("vllm", "serve"))
_STOOD_IN_FOR: Final = "vllm/vllm-openai"


def command_of(container: Container) -> tuple[str, ...]:
    """The words to execute; empty when the container has no command and its image no stand-in."""
    words = (*container.command, *container.args)
    if _repository(container.image) != _STOOD_IN_FOR:
        return words
    if not container.command:
        return (*_ENGINE, *words)
    for start in _STARTS:
        if words[: len(start)] == start:
            return (*_ENGINE, *words[len(start) :])
    return words


def _repository(image: str) -> str:
    """`vllm/vllm-openai` of `registry:5000/vllm/vllm-openai:v0.7.1@sha256:...`."""
    parts = image.partition("@")[0].split("/")
    return "/".join([*parts[-2:-1], parts[-1].partition(":")[0]])
