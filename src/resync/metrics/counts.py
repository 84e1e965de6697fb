"""How many events happened in (start, end], exactly, or as a lower bound that says so.

A counter tells this only through its stored samples. Two traps are closed here. A process that restarts
counts from 0 again, and when it has overtaken the old value by the next scrape nothing decreases: so the
creation time of the counter (`<name>_created`, or `process_start_time_seconds`) decides what is a restart,
not the value alone. And a series that appears inside the window had its first events before its first scrape:
they count when it was created inside the window. What happened between the last scrape and a crash is in no
metric: after a reset the total is a lower bound.
"""

import bisect
import math
from collections.abc import Iterable, Sequence

import msgspec

from resync.metrics.prometheus import EDGE_S
from resync.metrics.series import Sample, Series, companion


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """`total` events, a whole number.

    `exact` is False when it is a lower bound; `notes` say why, one per cause.
    """

    total: int
    exact: bool
    resets: int
    notes: tuple[str, ...] = ()


def increase(series: Iterable[Series], creations: Sequence[Series], start_s: float, end_s: float) -> Count:
    """The events that all those counter series saw in (start_s, end_s], together.

    Read the series (and their creation times) from at least 5 scrape intervals before `start_s`: the last
    sample at or before it is the baseline. `creations` holds every creation series; each counter finds its
    own by its labels.
    """
    parts = [_one(one, companion(one, creations), start_s, end_s) for one in series]
    return Count(
        total=round(sum(total for total, _, _ in parts)),
        exact=all(not notes for _, _, notes in parts),
        resets=sum(resets for _, resets, _ in parts),
        notes=tuple(note for _, _, notes in parts for note in notes),
    )


def _one(
    series: Series, creation: Series | None, start_s: float, end_s: float
) -> tuple[float, int, list[str]]:
    total, resets, notes = 0.0, 0, list[str]()
    previous: Sample | None = None
    # Most counters are born once: then nothing has to be looked up sample by sample.
    births = creation if creation is not None and len({value for _, value in creation.samples}) > 1 else None
    for sample in series.samples:
        if math.isnan(sample.value):
            notes.append(f"{series}: NaN at {sample.ts_s:.3f}")
        elif sample.ts_s <= start_s + EDGE_S:
            previous = sample
        elif sample.ts_s <= end_s + EDGE_S:
            if previous is None:
                total += _first(sample, series, creation, start_s, notes)
            elif _restarted(previous, sample, births):
                total, resets = total + sample.value, resets + 1
                notes.append(f"{series}: counts from 0 again before {sample.ts_s:.3f}")
            else:
                total += sample.value - previous.value
            previous = sample
    return total, resets, notes


def _first(
    sample: Sample, series: Series, creation: Series | None, start_s: float, notes: list[str]
) -> float:
    """What a first sample without a baseline adds: everything, if the counter was created in the window."""
    created_s = _created_at(creation, sample.ts_s)
    if created_s is not None and created_s > start_s:
        return sample.value
    notes.append(
        f"{series}: begins at {sample.ts_s:.3f} with {sample.value:g} and no known creation in the window"
    )
    return 0.0


def _restarted(previous: Sample, sample: Sample, creation: Series | None) -> bool:
    if sample.value < previous.value:
        return True
    before, now = _created_at(creation, previous.ts_s), _created_at(creation, sample.ts_s)
    return before is not None and now is not None and before != now


def _created_at(creation: Series | None, ts_s: float) -> float | None:
    """The creation time as known at that moment."""
    if creation is None:
        return None
    index = bisect.bisect_right(creation.samples, ts_s + EDGE_S, key=lambda sample: sample.ts_s)
    return creation.samples[index - 1].value if index else None
