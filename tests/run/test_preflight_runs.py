"""Whole runs over the made world that the preflight ends: sentence, next step, healed."""

from typing import Any

import pytest

from resync.run.records import CheckPassed, kind_of

pytestmark = [pytest.mark.integration]

ENGINE = "default/engine-1"
STOPPED: dict[str, tuple[dict[str, object], str, str]] = {
    "nobody ends faults": ({"mesh_silent": True}, "no controller touched", "Chaos Mesh"),
    "unreadable events": ({"undecodable": ENGINE}, f"messages of {ENGINE}", "wire form"),
    "no word of applied events": (
        {"lacks": "aibrix_kvcache_zmq_events_processed_total"},
        "does not say how many events of default/engine-0",
        "gateway",
    ),
    "nothing published": (
        {"frozen_everywhere": True},
        "resync_published_sequence of default/engine-0 (the observer) does not move",
        "see that engines",
    ),
    "a control of yesterday": ({"control_age_s": 24 * 3600}, "min old, at most 180", "CONTROL_AGE_LIMIT"),
    "a control that left no trace": ({"no_control": True}, "not seen as 0, 1, 0", "restart it"),
}


@pytest.mark.parametrize(("knobs", "says", "step"), STOPPED.values(), ids=STOPPED)
def test_a_run_is_stopped_before_the_fault(
    bench: Any, knobs: dict[str, object], says: str, step: str
) -> None:
    ran = bench.run(knobs=knobs)
    assert ran.code == 2, ran.line
    assert says in ran.line["reason"]
    assert step in ran.line["next_step"]
    assert "fault-planned" not in {kind_of(r) for r in ran.records()}
    assert ran.healed, "what asked the mesh is a fault object too"
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_an_observer_that_never_finishes_its_control_is_waited_for_and_then_void(bench: Any) -> None:
    ran = bench.run(knobs={"control_stays_away": True})
    assert ran.code == 2, ran.line
    assert "did not finish its positive control" in ran.line["reason"]


def test_every_check_of_a_healthy_run_is_in_the_evidence(bench: Any) -> None:
    ran = bench.run()
    assert ran.code == 0, ran.stderr
    passed = [r.check for r in ran.records() if isinstance(r, CheckPassed)]
    assert passed == [
        "opted-in",
        "expiry",
        "prometheus",
        "mesh-alive",
        "metrics-move",
        "wire-form",
        "positive-control",
    ]


def test_a_planted_block_is_nobodys_divergence(bench: Any) -> None:
    """The control comes again in the middle of the fault: the gauge says 1, and the run passes."""
    ran = bench.run(knobs={"control_again_after_s": 0.5})
    assert ran.code == 0, ran.line
