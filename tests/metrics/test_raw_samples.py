"""Raw samples and instants, against a real Prometheus."""

import math
import struct
from typing import TYPE_CHECKING

import pytest

from resync.metrics.errors import CouldNotMeasureError, Reason
from resync.metrics.selectors import selector

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.integration
T0 = 1_700_000_000.0
CUT_S = 0.001
"""To what Prometheus cuts the time of a query."""
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


def grid(start_s: float, end_s: float, value: float = 1.0) -> list[tuple[float, float]]:
    return [(start_s + 0.25 * i, value) for i in range(round((end_s - start_s) / 0.25) + 1)]


def test_a_window_holds_exactly_the_samples_at_and_between_its_edges(bench: "Bench") -> None:
    bench.write("lag", grid(0, 10))
    (found,) = bench.prometheus.raw(selector("lag", run=bench.run), T0 + 2, T0 + 3)
    assert [sample.ts_s - T0 for sample in found.samples] == [2.0, 2.25, 2.5, 2.75, 3.0]


def test_a_sample_a_millisecond_outside_is_outside(bench: "Bench") -> None:
    bench.write("lag", [(1.999, 1.0), (2.0, 2.0), (3.0, 3.0), (3.001, 4.0)])
    (found,) = bench.prometheus.raw(selector("lag", run=bench.run), T0 + 2, T0 + 3)
    assert [sample.value for sample in found.samples] == [2.0, 3.0]


def test_a_long_window_is_not_thinned(bench: "Bench") -> None:
    bench.write("lag", grid(0, 3000))
    (found,) = bench.prometheus.raw(selector("lag", run=bench.run), T0, T0 + 3000)
    assert len(found.samples) == 12001


def test_an_empty_window_is_no_answer(bench: "Bench") -> None:
    bench.write("lag", grid(0, 1))
    with pytest.raises(CouldNotMeasureError, match="0 series") as raised:
        bench.prometheus.raw(selector("lag", run=bench.run), T0 + 5, T0 + 6)
    assert raised.value.reason is Reason.EMPTY
    assert not raised.value.retryable
    assert bench.prometheus.raw(selector("lag", run=bench.run), T0 + 5, T0 + 6, expect=0) == ()


def test_fewer_series_than_expected_is_no_answer(bench: "Bench") -> None:
    bench.write("lag", grid(0, 1), pod="a")
    with pytest.raises(CouldNotMeasureError, match=r"1 series .* 2 expected") as raised:
        bench.prometheus.raw(selector("lag", run=bench.run), T0, T0 + 1, expect=2)
    assert raised.value.reason is Reason.TOO_FEW


def test_nan_and_infinity_come_back_as_stored_and_stale_marks_do_not(bench: "Bench") -> None:
    bench.write("lag", [(0, 1.0), (0.25, math.nan), (0.5, math.inf), (0.75, STALE)])
    (found,) = bench.prometheus.raw(selector("lag", run=bench.run), T0, T0 + 1)
    values = [sample.value for sample in found.samples]
    assert values[0] == 1.0
    assert math.isnan(values[1])
    assert values[2:] == [math.inf]


@pytest.mark.parametrize("label", ["a'b", 'a"b', "a\\b", "a\nb", 'x"} or vector(1) #'])
def test_label_values_are_data(bench: "Bench", label: str) -> None:
    bench.write("lag", [(0, 7.0)], pod=label)
    bench.write("lag", [(0, 8.0)], pod="other")
    (found,) = bench.prometheus.raw(selector("lag", run=bench.run, pod=label), T0, T0 + 1)
    assert found.labels["pod"] == label
    assert found.samples[0].value == 7.0


def test_a_value_is_one_number(bench: "Bench") -> None:
    bench.write("lag", [(0, 7.0)], pod="a")
    bench.write("lag", [(0, 9.0)], pod="b")
    both = selector("lag", run=bench.run)
    assert bench.prometheus.value(f"sum({both})", T0 + 1) == 16.0
    assert bench.prometheus.value("1 + 1", T0) == 2.0
    with pytest.raises(CouldNotMeasureError, match="2 series, not one"):
        bench.prometheus.value(both, T0 + 1)


def test_nothing_above_the_limit_is_not_fine(bench: "Bench") -> None:
    bench.write("lag", [(0, 0.5)])
    with pytest.raises(CouldNotMeasureError, match="0 series") as raised:
        bench.prometheus.value(f"{selector('lag', run=bench.run)} > 1", T0)
    assert raised.value.reason is Reason.EMPTY


def test_nan_is_no_value(bench: "Bench") -> None:
    bench.write("lag", [(0, math.nan)])
    with pytest.raises(CouldNotMeasureError, match="NaN") as raised:
        bench.prometheus.value(selector("lag", run=bench.run), T0)
    assert raised.value.reason is Reason.NAN


def test_the_lookback_does_not_serve_an_old_value_as_current(bench: "Bench") -> None:
    bench.write("lag", [(0, 7.0)])
    lag = selector("lag", run=bench.run)
    assert bench.prometheus.value(lag, T0 + 60) == 7.0, "the trap this closes is gone"
    with pytest.raises(CouldNotMeasureError, match="stale") as raised:
        bench.prometheus.latest(lag, T0 + 60, max_age_s=1)
    assert raised.value.reason is Reason.STALE
    ((_, sample),) = bench.prometheus.latest(lag, T0 + 0.5, max_age_s=1)
    assert sample.value == 7.0


def test_a_query_that_cannot_be_parsed_is_not_repeated(bench: "Bench") -> None:
    with pytest.raises(CouldNotMeasureError, match="parse error") as raised:
        bench.prometheus.value("lag{", T0)
    assert raised.value.reason is Reason.BAD_QUERY
    assert raised.value.status == 400


def test_a_server_that_scrapes_nothing_says_so(bench: "Bench") -> None:
    with pytest.raises(CouldNotMeasureError, match="scrapes nothing"):
        bench.prometheus.targets()


def test_the_clocks_of_one_machine_agree(bench: "Bench") -> None:
    found = bench.prometheus.clock_offset()
    assert abs(found.offset_s) <= found.round_trip_s / 2 + CUT_S
    assert found.round_trip_s < 1.0


def test_ready_asks_a_question(bench: "Bench") -> None:
    bench.prometheus.ready()
