"""Quantiles that do not flatter."""

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.metrics.counts import Count
from resync.metrics.errors import CouldNotMeasureError, Reason
from resync.metrics.quantiles import bucket_counts, of_histogram, of_samples
from resync.metrics.selectors import selector
from resync.metrics.series import Sample, Series

if TYPE_CHECKING:
    from .conftest import Bench

T0 = 1_700_000_000.0


def gauge(*values: float) -> Series:
    return Series({"__name__": "age"}, tuple(Sample(T0 + i, value) for i, value in enumerate(values)))


def counts(**at: int) -> dict[float, Count]:
    return {
        float(bound[1:].replace("_", ".")): Count(total=n, exact=True, resets=0) for bound, n in at.items()
    }


def test_the_quantile_of_samples_is_one_of_them() -> None:
    assert of_samples([gauge(*range(1, 101))], 0.99).at_most == 99
    assert of_samples([gauge(1, 2), gauge(3, 4)], 0.5).at_most == 2
    assert of_samples([gauge(7)], 1).at_most == 7


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.floats(0.01, 1.0))
def test_at_least_that_share_lies_at_or_below(values: list[float], q: float) -> None:
    found = of_samples([gauge(*values)], q).at_most
    below = sum(value <= found for value in values)
    assert below >= q * len(values) - 1e-6
    assert found in values


def test_nothing_and_nan_have_no_quantile() -> None:
    for series, reason in (((), Reason.EMPTY), ([gauge(1, math.nan)], Reason.NAN)):
        with pytest.raises(CouldNotMeasureError) as raised:
            of_samples(series, 0.5)
        assert raised.value.reason is reason


def test_a_histogram_answers_with_its_bucket() -> None:
    found = of_histogram(counts(b0_1=50, b0_2=99, b1=100, binf=100), 0.99)
    assert (found.above, found.at_most, found.observations) == (0.1, 0.2, 100)
    assert of_histogram(counts(b0_1=50, b0_2=98, b1=100, binf=100), 0.99).at_most == 1.0


def test_beyond_the_last_bound_is_infinite_not_the_bound() -> None:
    found = of_histogram(counts(b0_1=0, b1=0, binf=3), 0.5)
    assert (found.above, found.at_most) == (1.0, math.inf)


@pytest.mark.parametrize(
    ("buckets", "words"),
    [
        (counts(b0_1=0, binf=0), "nothing was observed"),
        (counts(binf=3), "a finite bucket and"),
        (counts(b1=3), "a finite bucket and"),
        (counts(b0_1=5, b1=3, binf=5), "fall towards"),
        ({}, "a finite bucket and"),
    ],
)
def test_a_histogram_that_cannot_answer_does_not(buckets: dict[float, Count], words: str) -> None:
    with pytest.raises(CouldNotMeasureError, match=words):
        of_histogram(buckets, 0.99)


@pytest.mark.integration
def test_only_what_was_observed_in_the_window_counts(bench: "Bench") -> None:
    for bound, before, after in (("0.1", 1000, 1010), ("0.2", 1000, 1099), ("+Inf", 1000, 1100)):
        bench.write("age_bucket", [(0, before), (10, after)], le=bound)
    series = bench.prometheus.raw(selector("age_bucket", run=bench.run), T0, T0 + 10, expect=3)
    found = of_histogram(bucket_counts(series, (), T0, T0 + 10), 0.99)
    assert (found.above, found.at_most, found.observations, found.exact) == (0.1, 0.2, 100, True)


def bucket(bound: str, pod: str, *values: float) -> Series:
    samples = tuple(Sample(T0 + i, value) for i, value in enumerate(values))
    return Series({"__name__": "age_bucket", "le": bound, "pod": pod}, samples)


def test_histograms_of_several_pods_add_up_when_they_match() -> None:
    series = [
        bucket(bound, pod, 0, n) for pod in ("a", "b") for bound, n in (("0.1", 3), ("1", 4), ("+Inf", 4))
    ]
    assert {b: c.total for b, c in bucket_counts(series, (), T0, T0 + 1).items()} == {
        0.1: 6,
        1.0: 8,
        math.inf: 8,
    }
    with pytest.raises(CouldNotMeasureError, match="different buckets"):
        bucket_counts(series[:-2], (), T0, T0 + 1)


def test_what_is_no_bucket_is_refused() -> None:
    with pytest.raises(CouldNotMeasureError, match="no histogram bucket"):
        bucket_counts([gauge(1, 2)], (), T0, T0 + 1)
