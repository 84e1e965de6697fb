"""The detection table: found means found for the predicted reason, and no mutant is left out of it."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.detections import (
    CATALOGUE,
    CAUGHT,
    SEEDS,
    Run,
    alarm,
    came_to,
    first_shown_s,
    in_a_row,
    is_found,
    page,
    summary,
)
from benchmarks.mutants import CONTROLS, MUTANTS, SHORT_OF_RING, Mutant, Predicted, Where
from resync.gateway import flaws
from resync.run.observations import Series
from resync.run.records import FaultInjected, Record, SamplesTaken, TargetJoined
from resync.run.settings import parse

ROOT = Path(__file__).parents[2]
HIT = Predicted("pod-failure", "divergence", ("phantom",), Where.HIT)
ANY = Predicted("network-delay", "divergence", ("phantom",), Where.ANY)
LATE = Predicted("network-delay", "staleness", ("blocks stale",), Where.ANY)


def line(verdict: str, *claims: tuple[str, str, str, str]) -> dict[str, Any]:
    """A verdict line; a claim is (name, phase, outcome, detail)."""
    names = ("claim", "phase", "outcome", "detail")
    return {
        "verdict": verdict,
        "reason": claims[0][3] if claims else "the system held",
        "claims": [dict(zip(names, claim, strict=True)) for claim in claims],
        "effect": {"pods": {"default/engine-1": {}}},
    }


def wrong(kind: str = "phantom", pod: str = "default/engine-1", phase: str = "after") -> dict[str, Any]:
    return line("fail", ("divergence", phase, "breached", f"12 {kind} blocks on {pod} at one cut"))


BESIDE = "300 missing blocks on {} at one cut, beside 45 {} and 3 mis-hashed, and the gateway calls it so"


def beside(kind: str, pod: str = "default/engine-1") -> dict[str, Any]:
    return line("fail", ("divergence", "after", "breached", BESIDE.format(pod, kind)))


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        (HIT, wrong()),
        (HIT, beside("phantom")),
        (ANY, wrong(pod="default/engine-0", phase="fault")),
        (
            LATE,
            line(
                "fail", ("staleness", "fault", "breached", "31 blocks stale on default/engine-0, the oldest")
            ),
        ),
    ],
)
def test_what_was_predicted_is_found(predicted: Predicted, said: dict[str, Any]) -> None:
    assert came_to(predicted, said) == CAUGHT


@pytest.mark.parametrize(
    ("predicted", "said", "instead"),
    [
        pytest.param(HIT, wrong(pod="default/engine-0"), "fail for another reason", id="another pod"),
        pytest.param(HIT, wrong(pod="default/engine-11"), "fail for another reason", id="a longer name"),
        pytest.param(HIT, wrong("missing"), "fail for another reason", id="another kind"),
        pytest.param(HIT, beside("misattributed"), "fail for another reason", id="other kinds"),
        pytest.param(
            HIT, beside("phantom", "default/engine-0"), "fail for another reason", id="beside on another pod"
        ),
        pytest.param(HIT, wrong(phase="baseline"), "fail for another reason", id="before the fault"),
        pytest.param(LATE, wrong(), "fail for another reason", id="another claim"),
        pytest.param(
            HIT, {**wrong(), "verdict": "void", "reason": "not steady"}, "void: not steady", id="only void"
        ),
        pytest.param(
            HIT, {**wrong(), "effect": None}, "fail for another reason", id="nobody knows what was hit"
        ),
        pytest.param(HIT, line("pass"), "pass: the system held", id="held"),
        pytest.param(
            HIT,
            line("fail", ("divergence", "after", "held", "12 phantom blocks on default/engine-1")),
            "fail for another reason",
            id="the claim held",
        ),
    ],
)
def test_anything_else_is_missed(predicted: Predicted, said: dict[str, Any], instead: str) -> None:
    assert came_to(predicted, said).startswith(instead)


def test_a_mutant_is_found_on_all_seeds_or_not_at_all() -> None:
    mutant = Mutant("one", "somebody", "something", HIT)
    runs = {seed: Run(wrong()) for seed in SEEDS}
    assert is_found(mutant, runs)
    assert not is_found(mutant, {**runs, SEEDS[0]: Run(line("pass"))})
    assert not is_found(mutant, {SEEDS[0]: runs[SEEDS[0]]})
    assert not is_found(Mutant("none", "somebody", "something", None), runs)


def test_a_healthy_gateway_listed_as_a_mutant_is_missed() -> None:
    for control in CONTROLS:
        runs = {seed: Run(line("pass")) for seed in SEEDS}
        assert not is_found(control, runs)
        alarmed = summary({control.name: {**runs, 1: Run(wrong())}})
        assert alarmed.endswith("1 of 3 runs with a healthy gateway did not pass")


def test_an_alarm_is_any_end_but_the_one_it_has_to_have() -> None:
    runs = [Run({**line(verdict), "ends": ends}) for verdict, ends in (("pass", "pass"), ("void", "void"))]
    alarmed = [Run({**line("void"), "ends": "pass"}), Run({**line("pass"), "ends": "void"}), Run(wrong())]
    assert not any(map(alarm, runs))
    assert all(map(alarm, alarmed))
    kept = {CATALOGUE: dict(enumerate([*runs, *alarmed]))}
    assert in_a_row(kept) == "5 healthy runs of the catalogue in a row: 3 alarms"


def test_the_time_is_from_the_injection_to_the_first_sample_that_shows_it() -> None:
    records: list[Record] = [
        TargetJoined(at=0.0, target="lab", lab_started_here=True, settings=parse({}), api_server=""),
        FaultInjected(at=101.0, name="f", created_s=100.0, expires_s=110.0, pods=["default/engine-1"]),
        samples("resync_divergence_blocks", "default/engine-0", "phantom", (101.0, 5.0)),
        samples("resync_divergence_blocks", "default/engine-1", "missing", (101.0, 5.0)),
        samples("resync_divergence_blocks", "default/engine-1", "phantom", (99.0, 5.0), (103.5, 1.0)),
        samples("resync_staleness_seconds", "default/engine-1", None, (104.0, 1.9), (105.0, 2.1)),
    ]
    late = line("fail", ("staleness", "recovery", "breached", "31 blocks stale on default/engine-0"))
    assert first_shown_s(HIT, wrong(phase="recovery"), records) == 3.5
    assert first_shown_s(ANY, wrong(phase="recovery"), records) == 1.0
    assert first_shown_s(LATE, late, records) == 5.0
    assert first_shown_s(HIT, wrong(phase="after"), records) is None, "it was not wrong yet"
    assert first_shown_s(HIT, wrong(phase="recovery"), records[2:]) is None


def samples(metric: str, pod: str, kind: str | None, *points: tuple[float, float]) -> SamplesTaken:
    labels = {"pod_key": pod} | ({} if kind is None else {"kind": kind})
    series = [Series(metric=metric, labels=labels, points=list(points))]
    return SamplesTaken(
        at=200.0, phase="recovery", window=(90.0, 120.0), interval_s=0.25, series=series, instrument=[]
    )


def test_the_table_has_every_mutant_of_the_code_and_no_other() -> None:
    assert sorted(mutant.name for mutant in MUTANTS) == sorted([*flaws.TIMED, *flaws.STANDING])


def test_what_no_experiment_can_find_says_why() -> None:
    assert all(mutant.why_not for mutant in MUTANTS if mutant.predicted is None)


def test_every_experiment_named_exists() -> None:
    named = {mutant.predicted.experiment for mutant in (*MUTANTS, *CONTROLS) if mutant.predicted}
    assert all((ROOT / "experiments" / f"{name}.json").exists() for name in named)


def test_the_page_lists_every_mutant_and_says_of_a_missed_one_what_came_instead() -> None:
    healthy = {1: Run({**line("pass"), "experiment": "network-delay"})}
    written = page({"unchained": {1: Run(line("pass"))}, CATALOGUE: healthy}, {})
    assert "| network-delay | 1 | pass |" in written
    for mutant in (*MUTANTS, *CONTROLS, SHORT_OF_RING):
        assert f"| `{mutant.name}` |" in written
    assert "seed 1: pass: the system held" in written


def test_the_committed_page_lists_every_mutant_of_the_code() -> None:
    written = (ROOT / "docs" / "detection.md").read_text()
    for name in [*flaws.TIMED, *flaws.STANDING]:
        assert f"| `{name}` |" in written, "run `make detection`"
