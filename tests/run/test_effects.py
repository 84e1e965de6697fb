"""What a delay must do to the data path, by direction, and that less than that is not proof."""

import pytest

from resync.run.effects import Effect, PodEffect, delay
from resync.run.effects.delay import Expected, PodReadings
from resync.run.observations import Series
from resync.run.readings import RTT, Reading, all_measured, readings
from resync.run.records import SamplesTaken
from resync.run.samples import Samples
from resync.run.settings import Direction

BASELINE, WINDOW = (0.0, 4.0), (10.0, 14.0)


def every(start_s: float, end_s: float, took_ms: float, *, gap_s: float = 0.25) -> list[Reading]:
    count = int((end_s - start_s) / gap_s)
    return [Reading(start_s + (i + 1) * gap_s, took_ms) for i in range(count)]


def judged(fault: list[Reading], *, age: list[Reading] | None = None) -> PodEffect:
    return delay.pod_effect(
        PodReadings("default/engine-0", [*every(0, 4, 2.0), *fault], [*every(0, 4, 3.0), *(age or [])]),
        baseline=BASELINE,
        window=WINDOW,
        age=delay.expected_age("both", latency_ms=50, jitter_ms=10),
        rtt=delay.expected_rtt("both", latency_ms=50, jitter_ms=10),
        piece_s=1.0,
    )


@pytest.mark.parametrize(
    ("direction", "age_ms", "rtt_ms"), [("to", 0, 50), ("from", 50, 50), ("both", 50, 100)]
)
def test_direction_says_what_is_added(direction: Direction, age_ms: float, rtt_ms: float) -> None:
    assert delay.expected_age(direction, latency_ms=50, jitter_ms=10).added_ms == age_ms
    assert delay.expected_rtt(direction, latency_ms=50, jitter_ms=10).added_ms == rtt_ms


def test_a_measurement_that_the_samples_of_two_phases_hold_is_one() -> None:
    def seen(metric: str, *values: float) -> Series:
        labels = {"pod_key": "default/engine-0", "instance": "gateway-0"}
        return Series(metric=metric, labels=labels, points=list(enumerate(values, 10)))

    def phase(*done_s: float) -> Samples:
        series = [seen(RTT[0], *(0.1 for _ in done_s)), seen(RTT[1], *done_s)]
        taken = SamplesTaken(
            phase="fault",
            window=(0.0, 20.0),
            interval_s=0.25,
            series=series,
            instrument=[],
            at=20.0,
        )
        return Samples(taken)

    read = all_measured((phase(8.0, 9.0), phase(9.0, 9.5)), RTT, "default/engine-0")
    assert read == [Reading(done_s, 100.0) for done_s in (8.0, 9.0, 9.5)]


def test_jitter_and_slack_lower_the_threshold() -> None:
    assert Expected(100, 20).threshold_ms(2.0) == pytest.approx(77.0)


@pytest.mark.parametrize(
    ("added_ms", "jitter_ms", "told"), [(100, 20, True), (20, 20, False), (8, 0, False), (10, 0, True)]
)
def test_a_delay_must_differ_from_none_by_more_than_measuring_does(
    added_ms: float, jitter_ms: float, *, told: bool
) -> None:
    assert Expected(added_ms, jitter_ms).can_be_told is told


def test_an_undelayed_path_never_proves_a_delay_as_small_as_its_jitter() -> None:
    undelayed = every(*WINDOW, 2.0)
    seen = delay.pod_effect(
        PodReadings("default/engine-0", [*every(0, 4, 2.0), *undelayed], []),
        baseline=BASELINE, window=WINDOW, age=Expected(10, 10), rtt=Expected(20, 20), piece_s=1.0,
    )  # fmt: skip
    assert any("cannot be told from no delay" in doubt for doubt in seen.doubts)


def test_a_delay_on_every_measurement_is_proven() -> None:
    seen = judged(every(10, 14, 102.0), age=every(10.1, 14, 53.0))
    assert not seen.doubts
    assert seen.measured["rtt_added_ms"] == 100.0
    assert seen.measured["event_age_added_ms"] == 50.0


def test_one_fast_round_trip_in_the_window_is_a_doubt() -> None:
    readings = every(10, 14, 102.0)
    readings[7] = Reading(readings[7].done_s, 20.0)
    assert "1 of" in judged(readings).doubts[0]


def test_a_fault_that_ends_half_way_is_a_doubt() -> None:
    assert judged([*every(10, 12, 102.0), *every(12, 14, 2.0)]).doubts


def test_a_second_without_a_round_trip_is_a_doubt() -> None:
    assert "no round trip" in judged([*every(10, 11.5, 102.0), *every(13.2, 14, 102.0)]).doubts[0]


def test_one_young_event_is_a_doubt() -> None:
    assert "event ages" in judged(every(10, 14, 102.0), age=[Reading(12.0, 4.0)]).doubts[0]


def test_a_silent_engine_leaves_the_proof_to_the_round_trip() -> None:
    assert not judged(every(10, 14, 102.0)).doubts


def test_what_began_before_the_window_does_not_count() -> None:
    """A scrape inside the window may still show the last measurement from before it."""
    assert not judged([Reading(10.001, 2.0), *every(10, 14, 102.0)]).doubts


def test_nothing_measured_at_all_is_a_doubt() -> None:
    assert judged([]).doubts


def test_no_targeted_pod_proves_nothing() -> None:
    assert not Effect(()).proven


def test_a_repeated_scrape_is_one_measurement() -> None:
    value = Series(metric="v", labels={}, points=[(1.0, 0.1), (1.25, 0.1), (1.5, 0.2), (1.75, float("nan"))])
    stamp = Series(metric="s", labels={}, points=[(1.0, 0.9), (1.25, 0.9), (1.5, 1.4), (1.75, 1.7)])
    assert readings(value, stamp) == [Reading(0.9, 100.0), Reading(1.4, 200.0)]


def test_a_peer_that_slowed_is_a_doubt_and_a_silent_one_is_not() -> None:
    assert delay.peer_doubt(1.0, 60.0, latency_ms=50)
    assert not delay.peer_doubt(1.0, 1.4, latency_ms=50)
    assert not delay.peer_doubt(None, None, latency_ms=50)
