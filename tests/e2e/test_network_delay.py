"""The experiment on the lab: a healthy system passes, with the effect measured; a broken one fails."""

import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from resync.lab.handle import LabHandle
from resync.run.readings import AGE, PEER, RTT, fresh, measured
from resync.run.records import SamplesTaken
from resync.run.samples import Samples

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Run = Any
DIRECTIONS = [("both", 50, 100), ("to", 0, 50), ("from", 50, 50)]
TOLERANCE_MS = 2.0
MEASURED = {"RESYNC_FAULT_DURATION": "5s", "RESYNC_BASELINE": "6s"}
"""A median to within 2 ms needs more samples than a verdict does."""


CALM_WITHIN_RUNS = 8
"""So many bursts of other work on the machine may come one after the other."""


@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("direction", "age_ms", "rtt_ms"), DIRECTIONS)
@pytest.mark.scenario("failure/network-delay")
def test_a_healthy_system_passes_with_the_effect_that_the_direction_means(
    run: Run, tmp_path: Path, direction: str, age_ms: float, rtt_ms: float
) -> None:
    """In every run the quickest measurements move by the delay; on a calm machine each pod's medians do.

    Whether the machine was calm is the untouched peer's to say, whatever the effect turns out to be.
    """
    for number in range(CALM_WITHIN_RUNS):
        directory = tmp_path / str(number)
        directory.mkdir()
        ran = run(cwd=directory, RESYNC_DIRECTION=direction, RESYNC_JITTER="0ms", **MEASURED)
        assert ran.code == 0, ran.line
        taken = {r.phase: Samples(r) for r in ran.records() if isinstance(r, SamplesTaken)}
        before, during = taken["baseline"], taken["fault"]
        for pair, added_ms in ((AGE, age_ms), (RTT, rtt_ms)):
            added = quickest_ms(during, pair) - quickest_ms(before, pair)
            assert added == pytest.approx(added_ms, abs=TOLERANCE_MS)
        ran.is_honest()
        chance_ms = median_error_ms(peer_ms(before), peer_ms(during))
        if chance_ms <= TOLERANCE_MS:
            medians_move(ran.line["effect"], age_ms, rtt_ms)
            return
    pytest.fail(f"no calm machine in {CALM_WITHIN_RUNS} runs: chance alone moves a median by {chance_ms} ms")


def quickest_ms(samples: Samples, pair: tuple[str, str]) -> float:
    """Of all pods: the delay is the same for each."""
    pods = samples.pods(pair[0])
    return min(r.took_ms for pod in pods for r in fresh(measured(samples, pair, pod), samples.window))


def peer_ms(samples: Samples) -> list[float]:
    """The round trips of the observer, which no fault of ours is on the way of."""
    return [took * 1000 for series in samples.all(PEER) for took in {v for _, v in samples.inside(series)}]


def median_error_ms(*windows: Sequence[float]) -> float:
    """Three standard errors of the difference of two medians, of a pod's share of the measurements each.

    The median of n scatters by 1.253 sigma / sqrt(n), and sigma is the distance of the quartiles / 1.349.
    """
    variance = 0.0
    for took in windows:
        low, _, high = statistics.quantiles(took, n=4)
        variance += (1.253 * (high - low) / 1.349) ** 2 / (len(took) / 3)
    return round(3 * math.sqrt(variance), 1)


def medians_move(effect: Any, age_ms: float, rtt_ms: float) -> None:
    """The untouched peer's own shift is what the machine did meanwhile: so much is allowed on top."""
    assert effect["proven"]
    assert len(effect["pods"]) == 3
    assert effect["peer_added_ms"] == pytest.approx(0.0, abs=TOLERANCE_MS)
    within = TOLERANCE_MS + abs(effect["peer_added_ms"])
    for pod in effect["pods"].values():
        assert pod["event_age_added_ms"] == pytest.approx(age_ms, abs=within)
        assert pod["rtt_added_ms"] == pytest.approx(rtt_ms, abs=within)


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_ten_healthy_runs_in_a_row_all_pass(run: Run, tmp_path: Path) -> None:
    reasons = []
    for number in range(10):
        directory = tmp_path / str(number)
        directory.mkdir()
        ran = run(cwd=directory)
        if ran.code != 0:
            reasons.append(f"run {number}: {ran.told()}")
        ran.is_honest()
    assert not reasons


QUICK = {"RESYNC_CONVERGENCE_LIMIT": "3s"}
"""A broken system would be waited for until the limit of convergence."""

DEFECTS = {
    "removal-for-all-pods": r"\d+ missing blocks on default/engine-\d",
    "unchained": r"\d+ mis-hashed blocks on default/engine-\d",
    "frozen-sequence": r"[\d.]+ (seconds stale|blocks stale|batches published and not applied)"
    r" on default/engine-\d",
    "short-heartbeat": r"[\d.]+ [a-z -]+ on default/engine-\d",
}


@pytest.mark.parametrize(("flaw", "says"), DEFECTS.items(), ids=DEFECTS)
@pytest.mark.scenario("failure/broken-system")
def test_a_real_defect_fails_and_the_sentence_names_kind_pod_and_count(
    lab: LabHandle, run: Run, flaw: str, says: str
) -> None:
    with lab.replaced("gateway-0", ["--flaw", flaw]):
        ran = run(**QUICK)
        assert ran.code == 1, ran.told()
        assert ran.line["verdict"] == "fail"
        assert re.search(says, ran.told()), ran.told()
        assert re.search(r"[\d.]+ [a-z -]+ on default/", ran.line["reason"]), ran.line["reason"]
        ran.is_honest()


@pytest.mark.scenario("failure/second-run")
def test_of_two_runs_at_once_the_second_is_refused_with_a_clear_sentence(begin: Run, tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    one = begin(cwd=first)
    one.appeared("lease-held")
    refused = begin(cwd=other).finished()
    holder = one.evidence()[0]
    assert refused.code == 2
    assert getattr(holder, "run", None) in refused.line["reason"], refused.line["reason"]
    assert refused.line["next_step"].startswith("wait until the other run is over")
    assert "fault-planned" not in {type(r).__struct_config__.tag for r in refused.records()}
    passed = one.finished()
    assert passed.code == 0, passed.told()
    passed.is_honest()
