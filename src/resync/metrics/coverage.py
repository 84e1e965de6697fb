"""How much of a window was really looked at.

A claim over a window is worth what its samples are worth: at least 95 % of the scrapes, and no hole over an
instant that decides something (the begin and the end of the fault). One missed scrape does not spoil a run.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from resync.metrics.errors import CouldNotMeasureError, Reason
from resync.metrics.prometheus import EDGE_S
from resync.metrics.series import Series

SHARE_MIN = 0.95
GAP_INTERVALS_MAX = 1.5


class Hole(msgspec.Struct, frozen=True):
    """A stretch without a sample, between two samples or an edge of the window, in server time."""

    start_s: float
    end_s: float

    def covers(self, instant_s: float) -> bool:
        """Whether that instant lies inside."""
        return self.start_s < instant_s < self.end_s


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Of the worst series: scrapes present and expected; `holes` of that series, with their place."""

    series: str
    present: int
    expected: int
    holes: tuple[Hole, ...]

    @property
    def share(self) -> float:
        """Present by expected, at most 1."""
        return min(1.0, self.present / self.expected) if self.expected else 1.0


def coverage_of(series: Series, start_s: float, end_s: float, interval_s: float) -> Coverage:
    """How much of [start_s, end_s] one series covers, at that scrape interval."""
    times = [s.ts_s for s in series.samples if start_s - EDGE_S <= s.ts_s <= end_s + EDGE_S]
    edges = [start_s, *times, end_s]
    holes = tuple(
        Hole(before, after)
        for before, after in pairwise(edges)
        if after - before > GAP_INTERVALS_MAX * interval_s
    )
    # A window of n intervals holds n or n + 1 scrapes, by its phase: fewer than n are missing ones.
    expected = max(1, int((end_s - start_s) / interval_s + 1e-6))
    return Coverage(series=str(series), present=len(times), expected=expected, holes=holes)


def require(
    series: Sequence[Series],
    start_s: float,
    end_s: float,
    interval_s: float,
    *,
    decisive_s: Iterable[float] = (),
    share_min: float = SHARE_MIN,
    expect: int = 1,
) -> Coverage:
    """The coverage of the worst series, once it is enough.

    Raises CouldNotMeasureError for fewer than `expect` series, for a share below `share_min`, and for a hole
    over a decisive instant; the message names the series and the place.
    """
    if len(series) < max(1, expect):
        raise CouldNotMeasureError(f"{len(series)} of {expect} series present", reason=Reason.TOO_FEW)
    found = [coverage_of(one, start_s, end_s, interval_s) for one in series]
    decisive = tuple(decisive_s)
    for one in found:
        for hole in one.holes:
            for instant_s in decisive:
                if hole.covers(instant_s):
                    raise CouldNotMeasureError(
                        f"{one.series} has no sample from {hole.start_s:.3f} to {hole.end_s:.3f}, over the"
                        " decisive"
                        f" instant {instant_s:.3f}",
                        reason=Reason.COVERAGE,
                    )
    worst = min(found, key=lambda one: one.share)
    if worst.share < share_min:
        raise CouldNotMeasureError(
            f"{worst.series} has {worst.present} of {worst.expected} scrapes in the window"
            f" ({worst.share:.0%}),"
            f" {share_min:.0%} are needed",
            reason=Reason.COVERAGE,
        )
    return worst
