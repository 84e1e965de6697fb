"""The experiment on the lab: a healthy system passes, with the effect measured; a broken one fails."""

import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from resync.lab.handle import LabHandle
from resync.run.readings import AGE, PEER, RTT, all_measured, fresh
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
PEERS: Way = ((PEER, ""), "all")
DIRECTIONS = [("both", 50, 100), ("to", 0, 50), ("from", 50, 50)]
TOLERANCE_MS = 2.0
MEASURED = {"RESYNC_FAULT_DURATION": "5s", "RESYNC_BASELINE": "6s"}
"""A median to within 2 ms needs more samples than a verdict does."""

RUNS_MAX = 6
"""So many are put together until chance moves no median by more than `CALM_MS`: one on a calm machine."""

CALM_MS = 1.5
"""Then a median is judged to within 2 ms, four standard errors; else chance is allowed on top."""

CHANCE_MS_MAX = 10.0
"""A machine on which chance moves the medians of so many runs by more tells nothing about 50 ms."""


@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("direction", "age_ms", "rtt_ms"), DIRECTIONS)
@pytest.mark.scenario("failure/network-delay")
def test_a_healthy_system_passes_with_the_effect_that_the_direction_means(
    run: Run, tmp_path: Path, direction: str, age_ms: float, rtt_ms: float
) -> None:
    """In every run the quickest measurements move by the delay, and the medians told are those measured.

    Each pod's medians move by the delay to within 2 ms, over as many runs as the spread of the measurements
    asks for, which a steady delay does not change.
    """
    added_ms = {AGE: age_ms, RTT: rtt_ms, PEERS[0]: 0.0}
    measured_ms: dict[Way, Windows] = {}
    for number in range(RUNS_MAX):
        directory = tmp_path / str(number)
        directory.mkdir()
        ran = run(cwd=directory, RESYNC_DIRECTION=direction, RESYNC_JITTER="0ms", **MEASURED)
        assert ran.code == 0, ran.line
        ran.is_honest()
        before, during = samples_of(ran)
        here = each_way(before, during)
        the_quickest_move(here, added_ms)
        the_medians_are_told(here, ran.line["effect"])
        measured_ms = together(measured_ms, here)
        if chance_ms(measured_ms) <= CALM_MS:
            break
    the_medians_move(measured_ms, added_ms)


def samples_of(ran: Any) -> tuple[Samples, Samples]:
    """Of the baseline and of the fault."""
    taken = {r.phase: Samples(r) for r in ran.records() if isinstance(r, SamplesTaken)}
    return taken["baseline"], taken["fault"]


def each_way(before: Samples, during: Samples) -> dict[Way, Windows]:
    """What was measured of each pod, by what was measured and pod, and of the untouched peer."""

    def windows(pair: Pair, pod: str) -> Windows:
        both = all_measured((before, during), pair, pod)
        old, new = fresh(both, before.window), fresh(both, during.window)
        return [r.took_ms for r in old], [r.took_ms for r in new]

    of_pods = {(pair, pod): windows(pair, pod) for pair in TOLD for pod in before.pods(pair[0])}
    return {**of_pods, PEERS: (peer_ms(before), peer_ms(during))}


def the_quickest_move(run: dict[Way, Windows], added_ms: dict[Pair, float]) -> None:
    """Of all pods: the delay is the same for each. The untouched peer's do not."""
    for pair, expected_ms in added_ms.items():
        windows = [run[way] for way in run if way[0] == pair]
        before, during = (min(map(min, side)) for side in zip(*windows, strict=True))
        assert during - before == pytest.approx(expected_ms, abs=TOLERANCE_MS)


def the_medians_are_told(run: dict[Way, Windows], effect: Any) -> None:
    """Of every pod, exactly; the peer's is of every sample, however often it was read."""
    assert effect["proven"]
    told = {(pair, pod): seen[name] for pair, name in TOLD.items() for pod, seen in effect["pods"].items()}
    assert len(told) == len(TOLD) * 3
    assert {*told, PEERS} == {*run}
    for way, moved_ms in told.items():
        assert moved_ms == pytest.approx(shift_ms(*run[way]), abs=0.001)
    peer_within_ms = max(TOLERANCE_MS, median_error_ms(*run[PEERS]))
    assert effect["peer_added_ms"] == pytest.approx(0.0, abs=peer_within_ms)


def shift_ms(before: Sequence[float], during: Sequence[float]) -> float:
    return statistics.median(during) - statistics.median(before)


def together(some: dict[Way, Windows], more: dict[Way, Windows]) -> dict[Way, Windows]:
    """What was measured in one and in the other, way by way."""
    empty: Windows = ([], [])
    return {
        way: (some.get(way, empty)[0] + old, some.get(way, empty)[1] + new)
        for way, (old, new) in more.items()
    }


def the_medians_move(measured_ms: dict[Way, Windows], added_ms: dict[Pair, float]) -> None:
    """By what was added, each pod's; and the untouched peer's do not."""
    assert chance_ms(measured_ms) <= CHANCE_MS_MAX, "no machine to measure on"
    calm = chance_ms(measured_ms) <= CALM_MS
    for (pair, pod), windows in measured_ms.items():
        within_ms = TOLERANCE_MS if calm else TOLERANCE_MS + median_error_ms(*windows)
        assert shift_ms(*windows) == pytest.approx(added_ms[pair], abs=within_ms), f"{pair[0]} of {pod}"


def chance_ms(measured_ms: dict[Way, Windows]) -> float:
    """By how much chance may move the worst of the medians."""
    return max(median_error_ms(*windows) for windows in measured_ms.values())


def peer_ms(samples: Samples) -> list[float]:
    """The round trips of the observer, which no fault of ours is on the way of."""
    return [took * 1000 for series in samples.all(PEER) for took in {v for _, v in samples.inside(series)}]


def median_error_ms(*windows: Sequence[float]) -> float:
    """Three standard errors of the difference of two medians.

    The median of n scatters by 1.253 sigma / sqrt(n), and sigma is the distance of the quartiles / 1.349.
    """
    variance = 0.0
    for took in windows:
        low, _, high = statistics.quantiles(took, n=4)
        variance += (1.253 * (high - low) / 1.349) ** 2 / len(took)
    return round(3 * math.sqrt(variance), 1)


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
