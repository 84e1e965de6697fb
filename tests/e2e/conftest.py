"""`chaos run` of the shipped experiment on the session's warm lab."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from resync.lab.handle import LabHandle
from resync.run import evidence

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "network-delay.json"
CHAOS = Path(sys.executable).with_name("chaos")
RUN_LIMIT_S = 120


@dataclass(frozen=True)
class Ran:
    """One run that ended."""

    code: int
    line: dict[str, Any]
    stderr: str
    directory: Path

    def records(self) -> list[evidence.Record]:
        """Its evidence."""
        return evidence.read(evidence.latest_run(self.directory / ".resync" / "runs"))


Start = Callable[..., "subprocess.Popen[str]"]
Runner = Callable[..., Ran]


def finished(process: "subprocess.Popen[str]", directory: Path) -> Ran:
    """Wait for a run to end."""
    out, err = process.communicate(timeout=RUN_LIMIT_S)
    lines = [line for line in out.splitlines() if line.startswith('{"resync"')]
    return Ran(process.returncode, json.loads(lines[-1])["resync"] if lines else {}, err, directory)


@pytest.fixture
def start(lab: LabHandle, tmp_path: Path) -> Iterator[Start]:
    """Starts `chaos run` on the lab, from a directory of its own, with a short fault."""

    def begin(settings: Mapping[str, str] | None = None, cwd: Path = tmp_path) -> "subprocess.Popen[str]":
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RESYNC_")}
        process = subprocess.Popen(
            [str(CHAOS), "--no-version-check", "run", str(EXPERIMENT)],
            cwd=cwd,
            env={**kept, **lab.env, "RESYNC_FAULT_DURATION": "6s", **(settings or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    begun: list[subprocess.Popen[str]] = []
    yield begin
    for process in begun:
        process.kill()
        process.communicate(timeout=RUN_LIMIT_S)


@pytest.fixture
def run(start: Start, tmp_path: Path) -> Runner:
    """Runs it to its end."""
    return lambda **settings: finished(start(settings), tmp_path)
