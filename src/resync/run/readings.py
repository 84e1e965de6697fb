"""Round trips and event ages as measurements: when each was finished, and how long it took.

A scrape repeats old values, so a measurement is told by the timestamp exported beside it, and counts for a
window only when it lies wholly inside: what began before a fault says nothing about it.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resync.run.observations import Series
from resync.run.samples import Samples, Window

PIECE_S = 1.0
"""Length of the pieces in which an effect has to be seen, at 4 measurements a second."""

SCRAPES_PER_PIECE = 4.0

RTT = ("resync_gateway_engine_rtt_seconds", "resync_gateway_engine_rtt_timestamp_seconds")
AGE = ("resync_gateway_last_event_age_seconds", "resync_gateway_applied_timestamp_seconds")
PEER = "resync_peer_rtt_seconds"


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement: when it was finished, and how long it took (or how old the event was)."""

    done_s: float
    took_ms: float

    @property
    def began_s(self) -> float:
        """When the measured thing started out."""
        return self.done_s - self.took_ms / 1000


def readings(values: Series, stamps: Series) -> list[Reading]:
    """The distinct measurements behind a gauge and the gauge that says when it was set, in order of time.

    Both come from one process, so a scrape holds a matching pair. NaN and repeated timestamps are left out.
    """
    set_at = dict(stamps.points)
    seen: dict[float, Reading] = {}
    for at, value in values.points:
        done = set_at.get(at, math.nan)
        if not math.isnan(done) and not math.isnan(value) and done > 0:
            seen.setdefault(done, Reading(done, value * 1000))
    return [seen[done] for done in sorted(seen)]


def fresh(measured: Iterable[Reading], window: Window) -> list[Reading]:
    """The measurements that lie wholly inside `window`."""
    start, end = window
    return [r for r in measured if r.began_s >= start and r.done_s <= end]


def pieces(window: Window, piece_s: float) -> list[Window]:
    """`window` cut into equal parts of about `piece_s`, at least one."""
    start, end = window
    count = max(1, int((end - start) / piece_s))
    step = (end - start) / count
    return [(start + i * step, start + (i + 1) * step) for i in range(count)]


def piece_length_s(interval_s: float) -> float:
    """How long a piece must be for a healthy path to be measured in it at this scrape interval."""
    return max(PIECE_S, SCRAPES_PER_PIECE * interval_s)


def low_ms(measured: Sequence[Reading]) -> float | None:
    """The 10th percentile of the measurements, None without any."""
    took = sorted(r.took_ms for r in measured)
    return took[len(took) // 10] if took else None


def spread_ms(measured: Sequence[Reading]) -> float:
    """The distance of the 10th and the 90th percentile: small while nothing changes on the path."""
    took = sorted(r.took_ms for r in measured)
    return took[len(took) - 1 - len(took) // 10] - took[len(took) // 10] if took else math.inf


def median_ms(measured: Sequence[Reading]) -> float | None:
    return statistics.median(r.took_ms for r in measured) if measured else None


def measured(samples: Samples, pair: tuple[str, str], pod_key: str) -> list[Reading]:
    """Every distinct measurement of one pod in `samples`, whichever gateway took it."""
    stamps = {_identity(s): s for s in samples.all(pair[1], pod_key=pod_key)}
    values = samples.all(pair[0], pod_key=pod_key)
    return [r for v in values if (s := stamps.get(_identity(v))) is not None for r in readings(v, s)]


def all_measured(phases: Iterable[Samples], pair: tuple[str, str], pod_key: str) -> list[Reading]:
    """The same over several phases: what the samples of two phases hold is one measurement all the same."""
    return list(dict.fromkeys(r for samples in phases for r in measured(samples, pair, pod_key)))


def _identity(series: Series) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(series.labels.items()))
