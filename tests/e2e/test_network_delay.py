"""The experiment on the lab: right verdicts on a healthy system, on broken ones, on unproven runs."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle
from resync.run import evidence
from resync.run.verdict import Verdict, rule

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Runner = Any
Start = Any
DIRECTIONS = [("both", 50, 100), ("to", 0, 50), ("from", 50, 50)]


@pytest.mark.parametrize(("direction", "age_ms", "rtt_ms"), DIRECTIONS)
def test_a_healthy_system_passes_with_the_effect_that_the_direction_means(
    run: Runner, direction: str, age_ms: float, rtt_ms: float
) -> None:
    ran = run(RESYNC_DIRECTION=direction, RESYNC_JITTER="0ms")
    assert ran.code == 0, ran.line
    assert ran.line["effect"]["proven"]
    for pod in ran.line["effect"]["pods"].values():
        assert pod["event_age_added_ms"] == pytest.approx(age_ms, abs=2.0)
        assert pod["rtt_added_ms"] == pytest.approx(rtt_ms, abs=2.0)
    assert ran.line["effect"]["peer_added_ms"] == pytest.approx(0.0, abs=2.0)
    assert rule(ran.records()).verdict is Verdict.PASS


DEFECTS = {
    "removal-for-all-pods": "missing blocks",
    "unchained": "mis-hashed blocks",
    "frozen-sequence": "batches published and not applied|stale",
    "short-heartbeat": "default/engine-",
}


SHOWS_ONLY_UNDER_DELAY = {"frozen-sequence", "short-heartbeat"}


@pytest.mark.parametrize(("flaw", "says"), DEFECTS.items(), ids=DEFECTS)
def test_a_real_defect_does_not_pass(lab: LabHandle, run: Runner, flaw: str, says: str) -> None:
    """What is wrong from the start may be found before the fault: void (not steady), never a pass."""
    with lab.replaced("gateway-0", ["--flaw", flaw]):
        ran = run()
    assert ran.code == 1 if flaw in SHOWS_ONLY_UNDER_DELAY else ran.code in {1, 2}, ran.line
    told = " ".join([*ran.line["breaches"], *ran.line["voids"]])
    assert any(part in told for part in says.split("|")), told


def test_nothing_selected_is_void(run: Runner) -> None:
    ran = run(RESYNC_ENGINE_SELECTOR="app=nobody")
    assert ran.code == 2
    assert "matches no pod" in ran.line["reason"]
    assert ran.line["next_step"]


def appeared(directory: Path, kind: str, process: "subprocess.Popen[str]") -> None:
    """Wait for a kind of record in the evidence of that directory."""

    def seen() -> bool:
        files = list((directory / ".resync" / "runs").glob("*/evidence.jsonl"))
        assert process.poll() is None
        return bool(files) and f'"kind":"{kind}"'.encode() in files[-1].read_bytes()

    wait_until(seen, what=f"a {kind} record", timeout_s=60.0, every_s=0.01)


def faults(lab: LabHandle) -> list[str]:
    """What of ours is in the cluster."""
    from resync.cluster.residues import residue

    with lab.cluster() as cluster:
        return [str(f) for f in residue(cluster, lab.namespace)]


def test_sigterm_under_the_fault_heals_within_5_s(lab: LabHandle, start: Start, tmp_path: Path) -> None:
    process = start()
    appeared(tmp_path, "effect-proven", process)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    wait_until(lambda: not faults(lab), what="the fault to be healed", timeout_s=5.0)
    assert time.monotonic() - began < 5.0
    process.communicate(timeout=30)
    assert process.returncode == 2


def test_after_sigkill_the_fault_expires_on_the_data_path_by_itself(
    lab: LabHandle, start: Start, tmp_path: Path
) -> None:
    process = start()
    appeared(tmp_path, "effect-proven", process)
    process.kill()
    process.communicate(timeout=30)

    def rtt_s() -> float:
        return max(s.number for s in lab.query("resync_gateway_engine_rtt_seconds"))

    assert rtt_s() > 0.07, "the fault has to stand while nobody is left to heal it"
    wait_until(lambda: rtt_s() < 0.05, what="the data path to be back", timeout_s=8.0)
    found = evidence.read(evidence.latest_run(tmp_path / ".resync" / "runs"))
    assert rule(found).verdict is Verdict.VOID
    assert faults(lab), "an expired object stays until it is swept"
    with lab.cluster() as cluster:
        from resync.cluster.residues import sweep

        wait_until(
            lambda: sweep(cluster, lab.namespace, only_expired=True).clean, what="the sweep", timeout_s=10.0
        )


def test_a_second_run_at_once_is_refused_with_a_clear_sentence(start: Start, tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    one = start(cwd=first)
    appeared(first, "lease-held", one)
    two = start(cwd=other)
    out, _ = two.communicate(timeout=60)
    assert two.returncode == 2
    assert "lease" in out or "run" in out
    one.communicate(timeout=90)
    assert one.returncode == 0, os.fspath(first)
