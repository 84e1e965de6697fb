"""A whole `chaos run` in a subprocess over a world made of numbers, and those numbers for the pure judges."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resync.run import evidence
from resync.run.records import Record

BENCH = Path(__file__).parent / "bench"
ROOT = Path(__file__).parents[2]
CHAOS = Path(sys.executable).with_name("chaos")
RUN_LIMIT_S = 60


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The module of the made world."""
    spec = importlib.util.spec_from_file_location("madeworld", BENCH / "madeworld.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Ran:
    """One `chaos run` that ended."""

    code: int
    stdout: str
    stderr: str
    directory: Path

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The verdict lines on stdout."""
        found = (json.loads(line) for line in self.stdout.splitlines() if line.startswith('{"resync"'))
        return [line["resync"] for line in found]

    @property
    def line(self) -> dict[str, Any]:
        """The one verdict line."""
        (one,) = self.lines
        return one

    def records(self) -> list[Record]:
        """The evidence."""
        return evidence.read(evidence.latest_run(self.directory / "runs"))

    @property
    def healed(self) -> bool:
        """Whether the made fault is gone."""
        return not (self.directory / "fault-stands").exists()


@dataclass
class Bench:
    """Builds an experiment over the made world and runs it."""

    directory: Path
    experiment: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    bench: Path = BENCH

    def start(self, *options: str, knobs: Mapping[str, object] | None = None) -> subprocess.Popen[str]:
        """Start `chaos run` on the experiment."""
        file = self.directory / "experiment.json"
        file.write_text(json.dumps(self.experiment))
        return subprocess.Popen(
            [str(CHAOS), "--no-version-check", "run", str(file), *options],
            cwd=self.directory,
            env=self.environ(knobs or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, knobs: Mapping[str, object] | None = None) -> Ran:
        """Run it to its end."""
        return self.wait(self.start(*options, knobs=knobs))

    def wait(self, process: subprocess.Popen[str]) -> Ran:
        """Wait for a run to end."""
        try:
            out, err = process.communicate(timeout=RUN_LIMIT_S)
        finally:
            process.kill()
        return Ran(process.returncode, out, err, self.directory)

    def environ(self, knobs: Mapping[str, object]) -> dict[str, str]:
        """Of a process over the made world."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RESYNC_")}
        return {
            **kept,
            "PYTHONPATH": str(BENCH),
            "MADE_CONTROL": "1",
            "MADE_WORLD": json.dumps(knobs),
            "RESYNC_RUNS_DIR": str(self.directory / "runs"),
            "RESYNC_BASELINE": "600ms",
            "RESYNC_STEADY_LIMIT": "3s",
            "RESYNC_CONTROL_LIMIT": "2s",
            "RESYNC_CONVERGENCE_LIMIT": "2s",
            "RESYNC_FAULT_DURATION": "3s",
            # Beyond the 1.2 s that are looked at: so late may a busy machine come to heal a made fault.
            "RESYNC_GUARD": "1200ms",
            **self.environment,
        }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """The shipped experiment over the made world."""
    experiment = json.loads((ROOT / "experiments" / "network-delay.json").read_text())
    experiment["controls"][0]["provider"]["module"] = "madeworld"
    return Bench(tmp_path, experiment)


@pytest.fixture
def ran_healthy(bench: Bench) -> Callable[[], Ran]:
    """Runs the healthy experiment."""
    return bench.run
