"""When did it get well, and stay well: an interval, because samples are moments.

The condition was bad at one sample and good at the next; the truth lies between. A gap in the samples counts
as bad (a dead process reports nothing), NaN counts as bad, and the answer is that of the slowest series. "Not
within the window" stays in the result as what it is, a censored time: `latest_s` is None and `earliest_s` is
the bound that was reached.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import msgspec

from resync.metrics.errors import CouldNotMeasureError, Reason
from resync.metrics.series import STAMP_MOVED_S, Sample, Series


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds after the end of the fault: the truth lies in (earliest_s, latest_s].

    `recovered` is True, False (still bad at the end of the window: `latest_s` is None), or None (good at the
    end, but the window is too short to prove that it holds). Both times are 0 for what was never bad.
    """

    recovered: bool | None
    earliest_s: float | None
    latest_s: float | None
    reason: str = ""


class _Turn(msgspec.Struct, frozen=True):
    """Where a series turned: its last bad moment and the first good one after it, either may be missing."""

    last_bad_s: float | None
    first_good_s: float | None


def recovery(
    series: Sequence[Series],
    good: Callable[[float], bool],
    *,
    fault_end_s: float,
    until_s: float,
    hold_s: float,
    max_gap_s: float,
    expect: int = 1,
    scrape_s: float = 0.0,
) -> Recovery:
    """When `good` held of every series and went on holding until `until_s`, for at least `hold_s`.

    Read the series from `fault_end_s - max_gap_s` to `until_s`, after the settle time of the last scrape;
    `max_gap_s` is 2.4 scrape intervals. `scrape_s` is how long a scrape takes at most, by which the truth may
    be later than its sample's time; 0 takes samples for moments. All times are the server's. Fewer than
    `expect` series is "not recovered", without a time. Raises CouldNotMeasureError for a window that ends
    before the fault.
    """
    if until_s < fault_end_s:
        raise CouldNotMeasureError("the window ends before the fault", reason=Reason.SHAPE)
    if len(series) < max(expect, 1):
        words = f"{len(series)} of {expect} series present"
        return Recovery(recovered=False, earliest_s=None, latest_s=None, reason=words)
    turns = [_turn(one.samples, good, until_s, max_gap_s) for one in series]
    for one, turn in zip(series, turns, strict=True):
        if turn.first_good_s is None:
            bound_s = max(0.0, (turn.last_bad_s or fault_end_s) - fault_end_s)
            words = f"{one} still bad at the end of the window"
            return Recovery(recovered=False, earliest_s=bound_s, latest_s=None, reason=words)
    return _worst(turns, fault_end_s, until_s, hold_s, scrape_s)


def _worst(
    turns: list[_Turn], fault_end_s: float, until_s: float, hold_s: float, scrape_s: float
) -> Recovery:
    last_bad_s, first_good_s = max(
        ((turn.last_bad_s, turn.first_good_s or 0.0) for turn in turns), key=lambda pair: pair[1]
    )
    never_bad = last_bad_s is None
    moved_s = STAMP_MOVED_S if scrape_s else 0.0
    latest_s = 0.0 if never_bad else max(0.0, first_good_s + scrape_s + moved_s - fault_end_s)
    earliest_s = 0.0 if last_bad_s is None else max(0.0, last_bad_s - moved_s - fault_end_s)
    held_s = until_s - max(first_good_s, fault_end_s)
    proven = held_s >= hold_s
    words = "" if proven else f"good for the last {held_s:.3f} s only, {hold_s:g} s are needed"
    return Recovery(
        recovered=True if proven else None, earliest_s=earliest_s, latest_s=latest_s, reason=words
    )


def _turn(
    samples: Sequence[Sample], good: Callable[[float], bool], until_s: float, max_gap_s: float
) -> _Turn:
    last_bad_s: float | None = None
    first_good_s: float | None = None
    previous_s: float | None = None
    for ts_s, value in _then_the_end(samples, until_s):
        if previous_s is not None and ts_s - previous_s > max_gap_s:
            last_bad_s, first_good_s = previous_s, None
        if value is None:
            break
        if math.isnan(value) or not good(value):
            last_bad_s, first_good_s = ts_s, None
        elif first_good_s is None:
            first_good_s = ts_s
        previous_s = ts_s
    return _Turn(last_bad_s, first_good_s)


def _then_the_end(samples: Sequence[Sample], until_s: float) -> Iterator[tuple[float, float | None]]:
    """The samples up to the end of the window, then the end itself: a hole before it is a hole too."""
    for sample in samples:
        if sample.ts_s <= until_s:
            yield sample.ts_s, sample.value
    yield until_s, None
