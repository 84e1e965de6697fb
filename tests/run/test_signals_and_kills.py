"""A run that is stopped at any step ends healed, readable and void; a killed one can still be judged.

The steps are the kinds of evidence record, and the record's appearance in the file is the trigger: a new
kind is covered by existing.
"""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from resync.kits.waits import wait_until
from resync.run import evidence
from resync.run.records import HEALTHY_KINDS, kind_of
from resync.run.verdict import Verdict, rule

pytestmark = [pytest.mark.integration]

Bench = Any
HEALED_WITHIN_S = 5.0
LAST = ("verdict-given", "run-ended")
"""When these are on disk the run is over: a signal that comes now changes nothing any more."""
HELD = ("residue-checked", "lease-released")
"""What follows on these is quicker than a busy machine sends a signal: the run waits for it there."""


def started(directory: Path, kind: str, process: "subprocess.Popen[str]") -> None:
    """Wait until the run has written a record of that kind, to its last byte."""

    def seen() -> bool:
        files = list((directory / "runs").glob("*/evidence.jsonl"))
        assert process.poll() is None or kind in LAST, "the run ended before the record appeared"
        return bool(files) and f'"kind":"{kind}"'.encode() in files[0].read_bytes().rpartition(b"\n")[0]

    wait_until(seen, what=f"a {kind} record", timeout_s=40.0, every_s=0.002)


def noted(directory: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Wait until the run has noted that many signals, or takes none any more."""

    def seen() -> bool:
        (file,) = (directory / "runs").glob("*/evidence.jsonl")
        return process.poll() is not None or file.read_bytes().count(b'"kind":"signal-received"') >= count

    wait_until(seen, what=f"{count} noted signals", timeout_s=HEALED_WITHIN_S, every_s=0.002)


@pytest.mark.parametrize("kind", [k for k in HEALTHY_KINDS if k not in LAST])
def test_sigterm_at_any_step_heals_and_is_void(bench: Bench, kind: str) -> None:
    if kind in HELD:
        bench.environment["MADE_HOLD_AT"] = kind
    process = bench.start()
    started(bench.directory, kind, process)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    ran = bench.wait(process)
    assert time.monotonic() - began < HEALED_WITHIN_S
    assert ran.healed
    assert ran.code == 2, ran.stderr
    assert ran.line["verdict"] == "void"
    assert "SIGTERM stopped the run" in ran.line["reason"]
    assert rule(ran.records()).verdict is Verdict.VOID
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "kind", ["target-joined", "fault-planned", "fault-injected", "effect-proven", "fault-healed"]
)
def test_sigint_heals_and_a_second_one_does_not_break_it(bench: Bench, kind: str) -> None:
    process = bench.start()
    started(bench.directory, kind, process)
    process.send_signal(signal.SIGINT)
    for count in (1, 2, 3):
        noted(bench.directory, count, process)
        process.send_signal(signal.SIGINT)
    ran = bench.wait(process)
    assert ran.healed
    assert ran.code == 2, ran.stderr
    assert rule(ran.records()).verdict is Verdict.VOID


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2], ids=lambda s: s.name)
def test_every_signal_that_would_leave_the_fault_heals(bench: Bench, number: signal.Signals) -> None:
    process = bench.start()
    started(bench.directory, "effect-proven", process)
    process.send_signal(number)
    ran = bench.wait(process)
    assert ran.healed
    assert ran.code == 2


@pytest.mark.parametrize("kind", HEALTHY_KINDS)
def test_after_a_kill_at_any_step_the_evidence_can_be_judged(bench: Bench, kind: str) -> None:
    process = bench.start()
    started(bench.directory, kind, process)
    process.kill()
    bench.wait(process)
    read = evidence.read(evidence.latest_run(bench.directory / "runs"))
    assert kind in {kind_of(r) for r in read}
    ended = kind_of(read[-1]) == "run-ended"
    assert rule(read).verdict is (Verdict.PASS if ended else Verdict.VOID)
    assert ended or kind not in LAST[1:]
