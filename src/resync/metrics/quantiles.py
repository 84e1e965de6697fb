"""Quantiles that can be defended: of raw gauge samples, and of a histogram between two instants.

A histogram knows only how many observations lie at or below each bound. `histogram_quantile` interpolates
inside a bucket and answers with the highest finite bound when everything lies above it; both flatter. Here
the answer is the bucket: the truth is above `above` and at most `at_most`, and `at_most` is infinite when it
lies beyond the last bound.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from resync.metrics.counts import Count, increase
from resync.metrics.errors import CouldNotMeasureError, Reason
from resync.metrics.series import NAME, Series

LE = "le"


class Quantile(msgspec.Struct, frozen=True, kw_only=True):
    """The truth lies in (above, at_most]. `exact` is False when the counts behind it are lower bounds."""

    at_most: float
    above: float
    observations: int
    exact: bool = True
    notes: tuple[str, ...] = ()


def of_samples(series: Iterable[Series], q: float) -> Quantile:
    """The nearest-rank quantile: the smallest sample with a share `q` of all at or below it.

    Raises CouldNotMeasureError without samples, and for NaN among them.
    """
    values = sorted(sample.value for one in series for sample in one.samples)
    if not values:
        raise CouldNotMeasureError("a quantile of no samples", reason=Reason.EMPTY)
    if any(math.isnan(value) for value in values):
        raise CouldNotMeasureError("NaN among the samples of a quantile", reason=Reason.NAN)
    found = values[_rank(q, len(values)) - 1]
    return Quantile(at_most=found, above=-math.inf, observations=len(values))


def _rank(q: float, count: int) -> int:
    if not 0 < q <= 1:
        raise ValueError(f"a quantile is above 0 and at most 1, not {q}")
    return max(1, math.ceil(q * count - 1e-9))


def bucket_counts(
    buckets: Sequence[Series], creations: Sequence[Series], start_s: float, end_s: float
) -> dict[float, Count]:
    """How many observations in (start_s, end_s] lie at or below each bound, over all `<name>_bucket`s.

    Raises CouldNotMeasureError for a bucket whose bound cannot be read, and when the series do not all have
    the same bounds (adding them up would then compare different things).
    """
    by_bound: dict[float, list[Series]] = {}
    for one in buckets:
        by_bound.setdefault(_bound(one), []).append(one)
    sources = {bound: {one.without(LE) for one in group} for bound, group in by_bound.items()}
    if len({frozenset(one) for one in sources.values()}) > 1:
        raise CouldNotMeasureError(
            "histograms with different buckets cannot be added up", reason=Reason.SHAPE
        )
    return {bound: increase(group, creations, start_s, end_s) for bound, group in sorted(by_bound.items())}


def _bound(series: Series) -> float:
    try:
        return float(series.labels[LE])
    except (KeyError, ValueError) as problem:
        name = series.labels.get(NAME, "a series")
        raise CouldNotMeasureError(f"{name} is no histogram bucket", reason=Reason.SHAPE) from problem


def of_histogram(counts: Mapping[float, Count], q: float) -> Quantile:
    """The bucket that holds the quantile of what was observed in the window of `bucket_counts`.

    Raises CouldNotMeasureError when nothing was observed, when there is no bound but +Inf, and when the
    counts fall from one bound to the next (buckets scraped at different moments).
    """
    bounds = sorted(counts)
    finite = [bound for bound in bounds if math.isfinite(bound)]
    if not finite or len(finite) == len(bounds):
        raise CouldNotMeasureError("a histogram needs a finite bucket and +Inf", reason=Reason.SHAPE)
    totals = [counts[bound].total for bound in bounds]
    if any(later < earlier for earlier, later in pairwise(totals)):
        raise CouldNotMeasureError("the counts of a histogram fall towards its end", reason=Reason.SHAPE)
    if totals[-1] == 0:
        raise CouldNotMeasureError("nothing was observed in the window", reason=Reason.NO_OBSERVATIONS)
    rank = _rank(q, totals[-1])
    index = next(index for index, total in enumerate(totals) if total >= rank)
    return Quantile(
        at_most=bounds[index],
        above=bounds[index - 1] if index else -math.inf,
        observations=totals[-1],
        exact=all(count.exact for count in counts.values()),
        notes=tuple(dict.fromkeys(note for count in counts.values() for note in count.notes)),
    )
