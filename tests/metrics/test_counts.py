"""Exact counts: what a real Prometheus stored, and what must not be concluded from it."""

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.metrics.counts import Count, increase
from resync.metrics.selectors import selector
from resync.metrics.series import Sample, Series

if TYPE_CHECKING:
    from .conftest import Bench

T0 = 1_700_000_000.0
LOOKBACK_S = 5.0


def counted(bench: "Bench", start_s: float, end_s: float, created: str = "ev_created") -> Count:
    """Events in (start, end], seconds from T0, as an experiment would ask."""
    names = [selector(name, run=bench.run) for name in ("ev_total", created)]
    read = [
        bench.prometheus.raw(name, T0 + start_s - LOOKBACK_S, T0 + end_s, expect=expect)
        for name, expect in zip(names, (1, 0), strict=True)
    ]
    return increase(read[0], read[1], T0 + start_s, T0 + end_s)


def every_250ms(start_s: float, end_s: float, value: "object") -> list[tuple[float, float]]:
    assert callable(value)
    steps = range(round((end_s - start_s) / 0.25) + 1)
    return [(start_s + 0.25 * i, float(value(start_s + 0.25 * i))) for i in steps]


@pytest.mark.integration
def test_seven_events_are_seven(bench: "Bench") -> None:
    bench.write("ev_total", every_250ms(0, 30, lambda t: 100 if t < 15.1 else 107))
    found = counted(bench, 10, 20)
    assert (found.total, found.exact, found.resets) == (7, True, 0)
    assert counted(bench, 15, 15.25).total == 7, "a window of one interval counts too"


@pytest.mark.integration
def test_a_counter_that_starts_again_is_a_lower_bound(bench: "Bench") -> None:
    bench.write("ev_total", every_250ms(0, 40, lambda t: math.floor(t if t < 20 else t - 20)))
    found = counted(bench, 10, 40)
    assert (found.total, found.exact, found.resets) == (29, False, 1)
    assert "counts from 0 again" in found.notes[0]


@pytest.mark.integration
def test_a_restart_that_overtakes_its_old_value_is_seen_by_its_creation_time(bench: "Bench") -> None:
    bench.write("ev_total", [(9.0, 10.0), (10.0, 10.0), (11.0, 25.0)])
    bench.write("ev_created", [(9.0, T0), (10.0, T0), (11.0, T0 + 10.5)])
    found = counted(bench, 10, 12)
    assert (found.total, found.exact, found.resets) == (25, False, 1)


@pytest.mark.integration
def test_without_a_creation_time_that_restart_is_invisible(bench: "Bench") -> None:
    bench.write("ev_total", [(9.0, 10.0), (10.0, 10.0), (11.0, 25.0)])
    assert counted(bench, 10, 12).total == 15


@pytest.mark.integration
def test_the_process_start_time_serves_as_well(bench: "Bench") -> None:
    bench.write("ev_total", [(10.0, 10.0), (11.0, 25.0)], kind="x")
    bench.write("process_start_time_seconds", [(10.0, T0), (11.0, T0 + 10.5)])
    assert counted(bench, 10, 12, created="process_start_time_seconds").total == 25


@pytest.mark.integration
def test_a_series_born_in_the_window_counts_from_zero(bench: "Bench") -> None:
    bench.write("ev_total", [(11.0, 9.0), (12.0, 9.0)])
    bench.write("ev_created", [(11.0, T0 + 10.7), (12.0, T0 + 10.7)])
    found = counted(bench, 10, 12)
    assert (found.total, found.exact) == (9, True)


@pytest.mark.integration
def test_a_series_of_unknown_birth_adds_nothing_and_says_so(bench: "Bench") -> None:
    bench.write("ev_total", [(11.0, 9.0), (12.0, 9.0)])
    found = counted(bench, 10, 12)
    assert (found.total, found.exact) == (0, False)
    assert "no known creation" in found.notes[0]


def test_a_series_first_seen_in_the_window_but_older_than_it_adds_nothing() -> None:
    """A target that was scraped late: what it counted before the window is not of the window."""
    found = increase([of(9, 11, start_s=1.0)], [of(T0 - 5, T0 - 5, start_s=1.0)], T0, T0 + 9)
    assert (found.total, found.exact) == (2, False)


def of(*values: float, start_s: float = 0.0, **labels: str) -> Series:
    samples = tuple(Sample(T0 + start_s + i, value) for i, value in enumerate(values))
    return Series({"__name__": "ev_total", **labels}, samples)


def test_several_series_are_added_up_each_with_its_own_creation_time() -> None:
    series = (of(1, 4, pod="a"), of(5, 9, pod="b"))
    creations = (of(T0, T0, pod="a"), of(T0, T0 + 0.5, pod="b"))
    found = increase(series, creations, T0, T0 + 1)
    assert (found.total, found.resets) == (3 + 9, 1)


def test_a_nan_makes_the_count_a_lower_bound() -> None:
    found = increase([of(1, math.nan, 4)], [], T0, T0 + 2)
    assert (found.total, found.exact) == (3, False)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=60), st.data())
def test_windows_that_touch_add_up_to_the_whole(steps: list[int], data: st.DataObject) -> None:
    totals = [sum(steps[: i + 1]) for i in range(len(steps))]
    series = of(*totals)
    cut = data.draw(st.integers(0, len(steps) - 1))
    end_s = T0 + len(steps) - 1
    whole = increase([series], [], T0, end_s)
    parts = increase([series], [], T0, T0 + cut), increase([series], [], T0 + cut, end_s)
    assert whole.exact
    assert whole.total == totals[-1] - totals[0] == parts[0].total + parts[1].total
