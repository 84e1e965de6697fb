"""When it got well and stayed well: the table of facts, written into a real Prometheus and read back."""

import math
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.metrics.errors import CouldNotMeasureError
from resync.metrics.recoveries import Recovery, recovery
from resync.metrics.selectors import selector
from resync.metrics.series import Sample, Series

if TYPE_CHECKING:
    from .conftest import Bench

T0 = 1_700_000_000.0
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
GONE = None

Lag = Callable[[float], float | None]


def bad_while(bad: Callable[[float], bool]) -> Lag:
    return lambda t: 5.0 if bad(t) else 0.5


CASES: dict[str, tuple[Lag, bool | None, float | None, float | None]] = {
    "bad from 5 to 12": (bad_while(lambda t: 5 <= t <= 12), True, 2.0, 2.25),
    "flapping": (bad_while(lambda t: 5 <= t < 11 or 13 <= t < 14), True, 3.75, 4.0),
    "never well again": (bad_while(lambda t: t >= 5), False, 30.0, None),
    "well too late to hold": (bad_while(lambda t: 5 <= t < 37), None, 26.75, 27.0),
    "a hole": (lambda t: GONE if 11 < t < 16 else 0.5, True, 1.0, 6.0),
    "gone at 30": (lambda t: GONE if t > 30 else 0.5, False, 20.0, None),
    "NaN from 9 to 15": (lambda t: math.nan if 9 <= t < 15 else 0.5, True, 4.75, 5.0),
    "never bad": (lambda _: 0.5, True, 0.0, 0.0),
}


def write(bench: "Bench", lag: Lag, **labels: str) -> None:
    points: list[tuple[float, float]] = []
    was_there = True
    for step in range(161):
        t = step * 0.25
        value = lag(t)
        if value is not None:
            points.append((t, value))
        elif was_there:
            points.append((t, STALE))
        was_there = value is not None
    bench.write("lag", points, **labels)


def judged(bench: "Bench", expect: int = 1) -> Recovery:
    series = bench.prometheus.raw(selector("lag", run=bench.run), T0 + 9, T0 + 40)
    return recovery(
        series,
        lambda lag: lag <= 1,
        fault_end_s=T0 + 10,
        until_s=T0 + 40,
        hold_s=5,
        max_gap_s=0.6,
        expect=expect,
    )


@pytest.mark.integration
@pytest.mark.parametrize("name", CASES)
def test_the_table_of_facts(bench: "Bench", name: str) -> None:
    lag, recovered, earliest_s, latest_s = CASES[name]
    write(bench, lag)
    found = judged(bench)
    assert found.recovered is recovered
    assert found.earliest_s == pytest.approx(earliest_s)
    assert found.latest_s == (None if latest_s is None else pytest.approx(latest_s))


@pytest.mark.integration
def test_the_slowest_replica_decides_and_a_missing_one_is_not_well(bench: "Bench") -> None:
    write(bench, bad_while(lambda t: 5 <= t < 12), pod="a")
    write(bench, bad_while(lambda t: 5 <= t < 20), pod="b")
    assert judged(bench, expect=2).latest_s == pytest.approx(10.0)
    missing = judged(bench, expect=3)
    assert (missing.recovered, missing.latest_s) == (False, None)
    assert missing.reason == "2 of 3 series present"


def test_nan_is_bad_whatever_the_condition_makes_of_it() -> None:
    series = Series({}, tuple(Sample(10 + 0.25 * i, math.nan if i < 8 else 0.0) for i in range(41)))
    found = recovery([series], lambda lag: not lag > 1, fault_end_s=10, until_s=20, hold_s=5, max_gap_s=0.6)
    assert (found.earliest_s, found.latest_s) == (1.75, 2.0)


def test_no_series_is_never_well() -> None:
    found = recovery((), lambda _: True, fault_end_s=1, until_s=9, hold_s=1, max_gap_s=1, expect=0)
    assert found.recovered is False


def test_a_window_before_the_end_of_the_fault_measures_nothing() -> None:
    with pytest.raises(CouldNotMeasureError, match="before the fault"):
        recovery((), lambda _: True, fault_end_s=10, until_s=9, hold_s=1, max_gap_s=1)


@given(well_at=st.floats(0.0, 20.0), phase=st.floats(0.0, 0.249))
def test_the_truth_lies_in_the_interval(well_at: float, phase: float) -> None:
    times = [phase + 0.25 * i for i in range(161)]
    series = Series({}, tuple(Sample(t, 0.0 if t >= 10 + well_at else 5.0) for t in times))
    found = recovery([series], lambda lag: lag <= 1, fault_end_s=10, until_s=40, hold_s=5, max_gap_s=0.6)
    assert found.earliest_s is not None
    assert found.latest_s is not None
    assert found.earliest_s <= well_at <= found.latest_s + 1e-9
    assert found.latest_s - found.earliest_s <= 0.25 + 1e-9


def test_the_scrape_that_shows_it_adds_its_own_length() -> None:
    grid = tuple(Sample(t / 4, 0.0 if t < 40 else 1.0) for t in range(80))
    found = recovery(
        [Series({}, grid)],
        lambda v: v == 1,
        fault_end_s=9.0,
        until_s=19.75,
        hold_s=1.0,
        max_gap_s=0.6,
        scrape_s=0.05,
    )
    assert found.earliest_s == pytest.approx(0.75 - 0.002)
    assert found.latest_s == pytest.approx(1.05 + 0.002)
