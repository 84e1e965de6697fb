"""The experiment on the lab: a healthy system passes, with the effect measured; a broken one fails."""

import math
import re
import statistics
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from resync.lab.handle import LabHandle
from resync.run.readings import AGE, PEER, RTT, fresh, measured
from resync.run.records import SamplesTaken
from resync.run.samples import Samples

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Run = Any
Pair = tuple[str, str]
Way = tuple[Pair, str]
"""What is measured, and of which pod."""

Windows = tuple[list[float], list[float]]
"""What was measured before the fault and during it, in ms."""

TOLD = {AGE: "event_age_added_ms", RTT: "rtt_added_ms"}
DIRECTIONS = [("both", 50, 100), ("to", 0, 50), ("from", 50, 50)]
TOLERANCE_MS = 2.0
MEASURED = {"RESYNC_FAULT_DURATION": "5s", "RESYNC_BASELINE": "6s"}
"""A median to within 2 ms needs more samples than a verdict does."""

CALM_WITHIN_RUNS = 6
"""After so many on a busy machine all of them together are judged, as well as it lets medians be told."""

COARSE_MS = 10.0
"""A machine on which chance moves the median of all runs by more tells nothing about 50 ms."""


@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("direction", "age_ms", "rtt_ms"), DIRECTIONS)
@pytest.mark.scenario("failure/network-delay")
def test_a_healthy_system_passes_with_the_effect_that_the_direction_means(
    run: Run, tmp_path: Path, direction: str, age_ms: float, rtt_ms: float
) -> None:
    """In every run the quickest measurements move by the delay, and what is told are the medians.

    On a calm machine each pod's medians move by the delay in that very run. Whether it was calm is the
    untouched peer's to say, whatever the effect turns out to be.
    """
    added_ms = {AGE: age_ms, RTT: rtt_ms}
    runs: list[dict[Way, Windows]] = []
    for number in range(CALM_WITHIN_RUNS):
        directory = tmp_path / str(number)
        directory.mkdir()
        ran = run(cwd=directory, RESYNC_DIRECTION=direction, RESYNC_JITTER="0ms", **MEASURED)
        assert ran.code == 0, ran.line
        ran.is_honest()
        before, during = samples_of(ran)
        runs.append(each_way(before, during))
        the_quickest_move(runs[-1], added_ms)
        the_medians_are_told(runs[-1], ran.line["effect"])
        if median_error_ms(peer_ms(before), peer_ms(during), pods=3) <= TOLERANCE_MS:
            medians_move(ran.line["effect"], age_ms, rtt_ms)
            return
    medians_of_all_move(runs, added_ms)


def samples_of(ran: Any) -> tuple[Samples, Samples]:
    """Of the baseline and of the fault."""
    taken = {r.phase: Samples(r) for r in ran.records() if isinstance(r, SamplesTaken)}
    return taken["baseline"], taken["fault"]


def each_way(before: Samples, during: Samples) -> dict[Way, Windows]:
    """What was measured of each pod, by what was measured and pod."""

    def windows(pair: Pair, pod: str) -> Windows:
        both = [*measured(before, pair, pod), *measured(during, pair, pod)]
        old, new = fresh(both, before.window), fresh(both, during.window)
        return [r.took_ms for r in old], [r.took_ms for r in new]

    return {(pair, pod): windows(pair, pod) for pair in TOLD for pod in before.pods(pair[0])}


def the_quickest_move(run: dict[Way, Windows], added_ms: dict[Pair, float]) -> None:
    """Of all pods: the delay is the same for each."""
    for pair, expected_ms in added_ms.items():
        windows = [run[way] for way in run if way[0] == pair]
        before, during = (min(map(min, side)) for side in zip(*windows, strict=True))
        assert during - before == pytest.approx(expected_ms, abs=TOLERANCE_MS)


def the_medians_are_told(run: dict[Way, Windows], effect: Any) -> None:
    """Of every pod, exactly."""
    assert effect["proven"]
    assert len(run) == len(TOLD) * len(effect["pods"]) == len(TOLD) * 3
    for (pair, pod), windows in run.items():
        assert effect["pods"][pod][TOLD[pair]] == pytest.approx(shift_ms(*windows), abs=0.001)


def shift_ms(before: Sequence[float], during: Sequence[float]) -> float:
    return statistics.median(during) - statistics.median(before)


def medians_of_all_move(runs: Sequence[dict[Way, Windows]], added_ms: dict[Pair, float]) -> None:
    """As well as the spread of the measurements lets it be told, which a steady delay does not change."""
    for way in runs[0]:
        before, during = (list(chain(*side)) for side in zip(*(run[way] for run in runs), strict=True))
        chance_ms = median_error_ms(before, during)
        assert chance_ms <= COARSE_MS, f"{way}: no machine to measure on, in {len(runs)} runs"
        assert shift_ms(before, during) == pytest.approx(added_ms[way[0]], abs=TOLERANCE_MS + chance_ms)


def peer_ms(samples: Samples) -> list[float]:
    """The round trips of the observer, which no fault of ours is on the way of."""
    return [took * 1000 for series in samples.all(PEER) for took in {v for _, v in samples.inside(series)}]


def median_error_ms(*windows: Sequence[float], pods: int = 1) -> float:
    """Three standard errors of the difference of two medians, of a pod's share of the measurements each.

    The median of n scatters by 1.253 sigma / sqrt(n), and sigma is the distance of the quartiles / 1.349.
    """
    variance = 0.0
    for took in windows:
        low, _, high = statistics.quantiles(took, n=4)
        variance += (1.253 * (high - low) / 1.349) ** 2 / (len(took) / pods)
    return round(3 * math.sqrt(variance), 1)


def medians_move(effect: Any, age_ms: float, rtt_ms: float) -> None:
    """The untouched peer's own shift is what the machine did meanwhile: so much is allowed on top."""
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
