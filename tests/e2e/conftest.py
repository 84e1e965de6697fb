"""`chaos run` of the shipped experiment on the session's warm lab, and what is looked at from outside."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from resync.cluster.pods import list_pods
from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle
from resync.run import evidence
from resync.run.records import Record

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
CHAOS = Path(sys.executable).with_name("chaos")
RESYNC = Path(sys.executable).with_name("resync")
RUN_LIMIT_S = 120
SHORT = {"RESYNC_FAULT_DURATION": "4s", "RESYNC_BASELINE": "2s"}
"""What a run of 20 s proves it proves too: the floors scale with it."""

FAULTS = "/apis/chaos-mesh.org/v1alpha1/namespaces/default/{}"


def environment(lab: LabHandle | None, settings: Mapping[str, str]) -> dict[str, str]:
    """Of a process that is to find the lab, and no settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RESYNC_")}
    return {**kept, **(lab.env if lab else {}), **settings}


def faults(lab: LabHandle) -> list[dict[str, Any]]:
    """Every fault in the lab, whoever made it."""
    with lab.cluster() as cluster:
        found = [cluster.get(FAULTS.format(kind), dict[str, Any]) for kind in ("networkchaos", "podchaos")]
    return [item for one in found for item in one["items"]]


@dataclass(frozen=True)
class Ran:
    """One run that ended."""

    code: int
    line: dict[str, Any]
    stderr: str
    directory: Path
    lab: LabHandle | None

    def records(self) -> list[Record]:
        """Its evidence."""
        return evidence.read(evidence.latest_run(self.directory / ".resync" / "runs"))

    def told(self) -> str:
        """Everything it gives as a reason."""
        return " | ".join([self.line["reason"], *self.line["breaches"], *self.line["voids"]])

    def is_honest(self) -> None:
        """One line and one code that agree, judged the same again, nothing left behind, no traceback."""
        assert self.code == self.line["exit_code"], self.line
        assert "\n" not in self.line["reason"]
        assert "Traceback" not in self.stderr
        again = resync(self.lab, self.directory, "verdict")
        judged = json.loads(again.stdout)["resync"]
        same = ("verdict", "exit_code", "reason", "next_step", "breaches", "voids", "claims")
        assert {k: judged[k] for k in same} == {k: self.line[k] for k in same}
        assert again.returncode == self.code
        if self.lab is not None:
            assert not faults(self.lab)


def resync(lab: LabHandle | None, cwd: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """The console script."""
    return subprocess.run(
        [str(RESYNC), *words],
        cwd=cwd,
        env=environment(lab, {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass
class Running:
    """A run under way."""

    process: "subprocess.Popen[str]"
    directory: Path
    lab: LabHandle | None

    def finished(self) -> Ran:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=RUN_LIMIT_S)
        lines = [line for line in out.splitlines() if line.startswith('{"resync"')]
        line = json.loads(lines[-1])["resync"] if lines else {}
        assert len(lines) <= 1
        return Ran(self.process.returncode, line, err, self.directory, self.lab)

    def evidence(self) -> list[Record]:
        """What it has written by now."""
        return evidence.read(evidence.latest_run(self.directory / ".resync" / "runs"))

    def appeared(self, kind: str) -> None:
        """Wait until it has written a record of that kind, to its last byte."""

        def seen() -> bool:
            files = list((self.directory / ".resync" / "runs").glob("*/evidence.jsonl"))
            there = bool(files) and f'"kind":"{kind}"'.encode() in files[-1].read_bytes().rpartition(b"\n")[0]
            assert there or self.process.poll() is None, f"the run ended before a {kind} record appeared"
            return there

        wait_until(seen, what=f"a {kind} record", timeout_s=60.0, every_s=0.005)

    def stop(self, number: signal.Signals) -> Ran:
        """Send it a signal and wait for its end."""
        self.process.send_signal(number)
        return self.finished()


class DataPath:
    """A round trip of our own from the gateway's address to an engine, over a kept-open connection."""

    def __init__(self, lab: LabHandle) -> None:
        """Through the link, as the gateway goes: from its own address to the one the engine advertises."""
        with lab.cluster() as cluster:
            ips = {pod.name: pod.ip for pod in list_pods(cluster, lab.namespace)}
        a, b, _, n = str(ips["gateway-0"]).split(".")
        self._connection = http.client.HTTPConnection(
            str(ips["engine-1"]), 8000, timeout=5, source_address=(f"{a}.{b}.1.{n}", 0)
        )
        self.round_trip_s()

    def round_trip_s(self) -> float:
        """One, in seconds."""
        began = time.monotonic()
        self._connection.request("GET", "/health")
        self._connection.getresponse().read()
        return time.monotonic() - began

    def is_slow(self) -> bool:
        """Whether 2 x 50 ms are on the way, in the better of two tries (a busy machine adds, never takes)."""
        return min(self.round_trip_s() for _ in range(2)) > 0.07

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


@pytest.fixture
def path(lab: LabHandle) -> Iterator[DataPath]:
    """The data path of the session's lab."""
    made = DataPath(lab)
    yield made
    made.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what brings a lab of its own: the session's takes half a core from its first use to the end."""
    items.sort(key=lambda item: item.get_closest_marker("own_lab") is None)


@pytest.fixture
def begin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `chaos run`: on the session's lab, in tmp_path, with a short fault, unless said otherwise.

    `where` None: with a lab that it has to start itself. The session's lab starts when it is first needed.
    """
    begun: list[Running] = []

    def start(
        experiment: str = "network-delay",
        *,
        where: LabHandle | Literal["session"] | None = "session",
        cwd: Path = tmp_path,
        **settings: str,
    ) -> Running:
        lab: LabHandle | None = request.getfixturevalue("lab") if where == "session" else where
        process = subprocess.Popen(
            [str(CHAOS), "--no-version-check", "run", str(EXPERIMENTS / f"{experiment}.json")],
            cwd=cwd,
            env=environment(lab, {**SHORT, **settings}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(Running(process, cwd, lab))
        return begun[-1]

    yield start
    for one in begun:
        one.process.kill()
        with suppress(ValueError):
            one.process.communicate(timeout=RUN_LIMIT_S)


@pytest.fixture
def run(begin: Callable[..., Running]) -> Callable[..., Ran]:
    """Runs it to its end."""
    return lambda *experiment, **settings: begin(*experiment, **settings).finished()


@pytest.fixture
def brought_to(begin: Callable[..., Running]) -> Callable[..., Running]:
    """Starts one as `begin` does, and returns it when a record of that kind is on disk.

    How late events are is not what such a run is about: it gets as far on a machine that others slow down.
    """

    def start(kind: str, *experiment: str, **settings: Any) -> Running:
        running = begin(*experiment, **{"RESYNC_EVENT_AGE_SLACK": "2s", **settings})
        running.appeared(kind)
        return running

    return start


@pytest.fixture
def command(lab: LabHandle, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The console script, in tmp_path, with the session's lab."""
    return lambda *words: resync(lab, tmp_path, *words)


@pytest.fixture
def standing(lab: LabHandle) -> Callable[[], list[dict[str, Any]]]:
    """The faults in the session's lab."""
    return lambda: faults(lab)
