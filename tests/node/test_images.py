"""Which program a container of the lab is: its command, or ours for a vLLM image."""

import sys

import pytest

from resync.lab.node.images import command_of
from resync.lab.node.objects import Container

VLLM = "vllm/vllm-openai:v0.7.1"
SERVER = ("python3", "-m", "vllm.entrypoints.openai.api_server")
ENGINE = (sys.executable, "-m", "resync.engine")


@pytest.mark.parametrize(
    ("image", "command", "args", "expected"),
    [
        (VLLM, SERVER, ("--port", "1"), (*ENGINE, "--port", "1")),
        (VLLM, (*SERVER, "--port", "1"), (), (*ENGINE, "--port", "1")),
        (VLLM, ("vllm", "serve", "m"), (), (*ENGINE, "m")),
        (VLLM, (), ("--model", "m"), (*ENGINE, "--model", "m")),
        (VLLM, ("sh", "-c", "true"), (), ("sh", "-c", "true")),
        (f"mirror:5000/{VLLM}@sha256:ab", ("vllm", "serve"), (), ENGINE),
        ("mine/vllm-openai:v1", SERVER, (), SERVER),
        ("vllm-openai", ("vllm", "serve"), (), ("vllm", "serve")),
        ("resync", (), (), ()),
    ],
    ids=[
        "args",
        "in the command",
        "serve",
        "entry point",
        "a shell",
        "a mirror",
        "another",
        "no owner",
        "none",
    ],
)
def test_the_command_that_runs(
    image: str, command: tuple[str, ...], args: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert command_of(Container(name="c", image=image, command=command, args=args)) == expected
