"""How much of a window was looked at, and where it was not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.metrics.coverage import Hole, coverage_of, require
from resync.metrics.errors import CouldNotMeasureError, Reason
from resync.metrics.series import Sample, Series

T0 = 1_700_000_000.0


def scraped(*missing: int, count: int = 81, phase_s: float = 0.0, pod: str = "a") -> Series:
    times = [T0 + phase_s + 0.25 * i for i in range(count) if i not in missing]
    return Series({"__name__": "up", "pod": pod}, tuple(Sample(t, 1.0) for t in times))


def test_a_full_window_is_full() -> None:
    found = require([scraped()], T0, T0 + 20, 0.25, decisive_s=[T0, T0 + 7, T0 + 20])
    assert (found.share, found.holes) == (1.0, ())


@given(st.floats(0.0, 0.249))
def test_the_phase_of_the_scrapes_does_not_matter(phase_s: float) -> None:
    found = coverage_of(scraped(count=80, phase_s=phase_s), T0, T0 + 20, 0.25)
    assert found.share == 1.0
    assert found.holes == ()


def test_one_missed_scrape_spoils_nothing_unless_it_decides() -> None:
    series = [scraped(40)]
    hole = Hole(T0 + 9.75, T0 + 10.25)
    assert require(series, T0, T0 + 20, 0.25, decisive_s=[T0 + 5]).holes == (hole,)
    with pytest.raises(CouldNotMeasureError, match="over the decisive instant") as raised:
        require(series, T0, T0 + 20, 0.25, decisive_s=[T0 + 10])
    assert raised.value.reason is Reason.COVERAGE


def test_the_worst_series_decides() -> None:
    series = [scraped(pod="a"), scraped(*range(20, 30), pod="b")]
    with pytest.raises(CouldNotMeasureError, match=r'pod="b".* 71 of 80 scrapes'):
        require(series, T0, T0 + 20, 0.25)


def test_scrapes_that_end_early_are_a_hole_up_to_the_edge() -> None:
    found = coverage_of(scraped(count=41), T0, T0 + 20, 0.25)
    assert found.holes == (Hole(T0 + 10, T0 + 20),)


def test_a_missing_series_covers_nothing() -> None:
    with pytest.raises(CouldNotMeasureError, match="1 of 2 series"):
        require([scraped()], T0, T0 + 20, 0.25, expect=2)
    with pytest.raises(CouldNotMeasureError, match="0 of 1 series"):
        require([], T0, T0 + 20, 0.25)
