"""Raw samples of one phase, asked by metric and labels.

Everything a claim knows about the system comes through here.

A claim never sees a rate. Counts are differences of raw samples that can tell a restart (a counter that fell,
or whose `_created` moved); levels are the samples themselves. What is missing is reported as missing.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from resync.metrics import counts
from resync.metrics import series as metrics_series
from resync.run.observations import Series
from resync.run.records import SamplesTaken

Window = tuple[float, float]
Point = tuple[float, float]

CONTROL_POD = "resync-control"
"""The pod_key under which the observer reports its positive control; no claim counts it."""

COVERAGE_MIN = 0.95
MISSED_ALWAYS_ALLOWED = 1
"""One missed scrape spoils no window, however short."""

HOLE_INTERVALS = 4.0
"""A hole is a stretch without samples longer than this many scrape intervals."""


@dataclass(frozen=True, slots=True)
class Count:
    """How often something happened in a window; not `exact` after a restart: then a lower bound."""

    total: float
    exact: bool
    series: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the samples that should be there are, how many are not, and the longest stretch without."""

    share: float
    missed: int
    longest_hole_s: float

    @property
    def thin(self) -> bool:
        """Whether too many are missing to judge by the rest."""
        return self.share < COVERAGE_MIN and self.missed > MISSED_ALWAYS_ALLOWED


def worst(covers: Sequence[Coverage]) -> Coverage:
    """What can be said of all of them, one at least."""
    return Coverage(
        min(c.share for c in covers), max(c.missed for c in covers), max(c.longest_hole_s for c in covers)
    )


class Samples:
    """The samples of one phase over its window."""

    def __init__(self, taken: SamplesTaken) -> None:
        """Index the series by metric."""
        self.window: Window = taken.window
        self.interval_s = taken.interval_s
        self.instrument: Sequence[Window] = taken.instrument
        self._by_metric: dict[str, list[Series]] = {}
        self._counted: dict[int, tuple[Series, metrics_series.Series]] = {}
        """As the metrics package counts it, by the id of the series, kept lest the id be given anew."""
        for series in taken.series:
            self._by_metric.setdefault(series.metric, []).append(series)

    @property
    def window_s(self) -> float:
        """Length of the window."""
        return self.window[1] - self.window[0]

    def all(self, metric: str, **labels: str) -> list[Series]:
        """Every series of `metric` with these labels, the positive control left out."""
        found = (s for s in self._by_metric.get(metric, []) if s.labels.get("pod_key") != CONTROL_POD)
        return [s for s in found if all(s.labels.get(k) == v for k, v in labels.items())]

    def inside(self, series: Series) -> list[Point]:
        """The points of `series` within the window, NaN left out."""
        return [p for p in within(series.points, self.window) if not math.isnan(p[1])]

    def told_between(self, series: Series, at_s: float) -> Window:
        """When the page behind the sample at `at_s` was written: after the scrape began, before it was over.

        Prometheus stamps a sample with the begin of its scrape, moved by up to 2 ms so that stamps are even.
        Where it was not asked how long the scrape took, the stamp is all there is.
        """
        way = {name: series.labels[name] for name in ("job", "instance") if name in series.labels}
        took = [v for s in self.all("scrape_duration_seconds", **way) for t, v in s.points if t == at_s]
        if not took:
            return at_s, at_s
        moved_s = metrics_series.STAMP_MOVED_S
        return at_s - moved_s, at_s + max(took) + moved_s

    def pods(self, metric: str) -> list[str]:
        """The pod_keys `metric` speaks about, sorted."""
        return sorted({s.labels["pod_key"] for s in self.all(metric) if "pod_key" in s.labels})

    def count(self, metric: str, **labels: str) -> Count:
        """How much a counter grew in the window, over all its series with these labels."""
        series = self.all(metric, **labels)
        counts = [self.growth(s) for s in series]
        return Count(sum(t for t, _ in counts), all(e for _, e in counts), len(series))

    def growth(self, series: Series, window: Window | None = None) -> tuple[float, bool]:
        """How much one counter grew in the window (or a part of it), and whether that is exact."""
        return self._grown(series, window or self.window)

    def awake_growth(self, series: Series) -> float:
        """How much one counter grew while the runner did not stand still: for counts of timed things."""
        return sum(self._grown(series, part)[0] for part in self._awake())

    def _grown(self, series: Series, window: Window) -> tuple[float, bool]:
        created = series.metric
        for suffix in ("_total", "_bucket", "_count"):
            created = created.removesuffix(suffix)
        creations = [self._stored(one) for one in self._by_metric.get(f"{created}_created", [])]
        found = counts.increase([self._stored(series)], creations, *window)
        return float(found.total), found.exact

    def _stored(self, series: Series) -> metrics_series.Series:
        if id(series) not in self._counted:
            self._counted[id(series)] = series, stored(series)
        return self._counted[id(series)][1]

    def _awake(self) -> list[Window]:
        parts, start = [], self.window[0]
        for stall_start, stall_end in sorted(self.instrument):
            parts.append((start, min(self.window[1], stall_start - self.interval_s)))
            start = max(start, stall_end + self.interval_s)
        parts.append((start, self.window[1]))
        return [p for p in parts if p[1] > p[0]]

    def level(
        self, metric: str, summary: Callable[[Iterable[float]], float] = statistics.median
    ) -> float | None:
        """One number for a gauge over the window, None when nothing was sampled."""
        values = [v for s in self.all(metric) for _, v in self.inside(s)]
        return summary(values) if values else None

    def coverage(self, metric: str, but: AbstractSet[str] = frozenset()) -> Coverage:
        """How well the worst series of `metric` covers the window; nothing at all when there is no series.

        Left out are those about the pods `but`.
        """
        covers = [self._cover(s) for s in self.all(metric) if s.labels.get("pod_key") not in but]
        if not covers:
            return Coverage(0.0, self._expected(), self.window_s)
        return worst(covers)

    def _expected(self) -> int:
        return max(1, math.floor(self.window_s / self.interval_s))

    def _cover(self, series: Series) -> Coverage:
        times = [t for t, _ in self.inside(series)]
        expected = self._expected()
        edges = [self.window[0], *times, self.window[1]]
        longest = max(b - a for a, b in itertools.pairwise(edges))
        return Coverage(min(1.0, len(times) / expected), max(0, expected - len(times)), longest)

    def timed_by_instrument(self, at: float) -> bool:
        """Whether the runner stood still around `at`, so that what was timed then cannot convict."""
        return any(start - self.interval_s <= at <= end + self.interval_s for start, end in self.instrument)


def within(points: Iterable[Point], window: Window) -> Iterator[Point]:
    """The points inside `window`, borders included."""
    return (p for p in points if window[0] <= p[0] <= window[1])


def stored(series: Series) -> metrics_series.Series:
    """The series as the metrics package counts it."""
    points = tuple(metrics_series.Sample(t, v) for t, v in series.points if not math.isnan(v))
    return metrics_series.Series({metrics_series.NAME: series.metric, **series.labels}, points)
