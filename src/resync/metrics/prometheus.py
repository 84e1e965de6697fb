"""Questions to Prometheus whose answers may convict: raw samples, instants, and the server's own state.

Raw samples only: `rate` and `increase` extrapolate (exactly 7 events were reported as 8, or 7.6), need
several samples, and miss a reset that hides between two scrapes; a stepped range query hides spikes.
Everything is an instant query over a range selector, wider than the window by milliseconds and cut here,
because a range is closed at its left edge in 2.x and open in 3.x (prometheus/prometheus, 3.0 migration guide,
"Range selectors and lookback exclude samples coinciding with the left boundary").
"""

import math
import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from urllib3 import Retry

from resync.kits.clocks import Clock, SystemClock
from resync.kits.reading import read_object
from resync.kits.shields import UNSHIELDED, Shield
from resync.metrics.access import PrometheusAccess
from resync.metrics.errors import CouldNotMeasureError, Reason
from resync.metrics.guarding import GuardedSession
from resync.metrics.series import Sample, Series

T = TypeVar("T")

EDGE_S = 0.0005
BACK_OFF_S_MIN = 0.1
BACK_OFF_S_MAX = 1.0
CLOCK_TRIES = 5
_UNIT_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+)(ms|s|m|h)")


class ScrapeTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One thing Prometheus scrapes: its labels, `health` (up, down, unknown), and how often."""

    labels: dict[str, str]
    health: str
    interval_s: float
    timeout_s: float
    last_error: str = ""


class ClockOffset(msgspec.Struct, frozen=True, kw_only=True):
    """What to add to our wall clock to get the server's.

    Known to within half of the round trip and the millisecond to which Prometheus cuts the time of a query.
    """

    offset_s: float
    round_trip_s: float


class _Matrix(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    values: tuple[tuple[float, str], ...]


class _Vector(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    value: tuple[float, str]


class _TargetWire(msgspec.Struct, frozen=True, rename="camel"):
    labels: dict[str, str]
    health: str
    scrape_interval: str = ""
    scrape_timeout: str = ""
    last_error: str = ""


class _Targets(msgspec.Struct, frozen=True, rename="camel"):
    active_targets: tuple[_TargetWire, ...]


class Prometheus:
    """A Prometheus, asked under one deadline per question. Every method raises CouldNotMeasureError.

    Times are seconds since the epoch by the server's clock (`clock_offset` relates it to ours). Each attempt
    is made inside `shield`.
    """

    def __init__(
        self, access: PrometheusAccess, *, clock: Clock | None = None, shield: Shield = UNSHIELDED
    ) -> None:
        # Imported here: the client brings dateparser, which `chaos validate` needs nothing of.
        from prometheus_api_client import PrometheusConnect

        self.access = access
        self._clock = clock or SystemClock()
        self._shield = shield
        session = GuardedSession(access)
        self._client = PrometheusConnect(
            url=access.base,
            headers=access.sent_headers,
            auth=session.credentials,
            session=session,
            retry=Retry(total=0, redirect=0),
            timeout=access.timeout_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def ready(self) -> None:
        """Returns when the server answers a query with what was asked; raises when it does not.

        A query and not `/-/ready`: Thanos and Mimir have the first in common with Prometheus, not the second.
        """
        answer = self._scalar("1")
        if answer != 1.0:
            raise CouldNotMeasureError(
                f"{self.access.shown} says that 1 is {answer}", reason=Reason.NOT_PROMETHEUS
            )

    def raw(self, selector: str, start_s: float, end_s: float, *, expect: int = 1) -> tuple[Series, ...]:
        """Every stored sample of the selected series with start_s <= ts <= end_s; NaN is kept as stored.

        Raises CouldNotMeasureError for fewer than `expect` series with a sample in the window; `expect=0`
        takes nothing for an answer, for what may rightly be absent.
        """
        if end_s < start_s:
            raise CouldNotMeasureError(f"the window of {selector} ends before it begins", reason=Reason.SHAPE)
        range_ms = math.ceil((end_s - start_s) * 1000) + 2
        rows = self._query(f"{selector}[{range_ms}ms]", end_s + 0.001, tuple[_Matrix, ...])
        found = tuple(series for row in rows if (series := _within(row, start_s, end_s)).samples)
        return self._enough(found, selector, expect)

    def latest(
        self, selector: str, at_s: float, *, max_age_s: float, expect: int = 1
    ) -> tuple[tuple[Series, Sample], ...]:
        """The newest sample at or before `at_s` of each series, none older than `max_age_s`.

        The lookback of an instant query would serve an old value as current; here its age is what decides.
        Raises CouldNotMeasureError for fewer than `expect` fresh series, and for NaN.
        """
        found = self.raw(selector, at_s - max_age_s, at_s, expect=0)
        if len(found) < expect:
            gone = self.raw(selector, at_s - 300.0, at_s, expect=0)
            if len(gone) >= expect:
                raise CouldNotMeasureError(
                    f"{selector} is stale: {len(found)} of {expect} series have a sample in the last"
                    f" {max_age_s:g} s",
                    reason=Reason.STALE,
                )
        self._enough(found, selector, expect)
        return tuple((series, _not_nan(series.samples[-1], selector)) for series in found)

    def value(self, expr: str, at_s: float) -> float:
        """The one number that the expression gives at that time; 0 series, several, and NaN are errors."""
        answer = self._query(expr, at_s, tuple[Any, ...])
        if answer and isinstance(answer[0], int | float):
            rows: tuple[tuple[float, str], ...] = (_shaped(answer, tuple[float, str], expr),)
        else:
            rows = tuple(row.value for row in _shaped(answer, tuple[_Vector, ...], expr))
        if len(rows) != 1:
            reason = Reason.TOO_MANY if rows else Reason.EMPTY
            raise CouldNotMeasureError(f"{expr} gives {len(rows)} series, not one", reason=reason)
        return _not_nan(Sample(rows[0][0], float(rows[0][1])), expr).value

    def targets(self) -> tuple[ScrapeTarget, ...]:
        """What the server scrapes now; none at all is an error."""
        found = self._ask(lambda: self._client.get_targets(state="active"), _Targets, "targets")
        if not found.active_targets:
            raise CouldNotMeasureError(f"{self.access.shown} scrapes nothing", reason=Reason.EMPTY)
        return tuple(_target(wire) for wire in found.active_targets)

    def scrape_interval_s(self, **labels: str) -> float:
        """The longest interval among the targets with those labels; no such target is an error."""
        among = [t.interval_s for t in self.targets() if labels.items() <= t.labels.items()]
        if not among:
            raise CouldNotMeasureError(f"no target with {labels} is scraped", reason=Reason.EMPTY)
        return max(among)

    def clock_offset(self) -> ClockOffset:
        """The server's clock against ours: the try with the shortest round trip of several."""
        return min((self._clock_try() for _ in range(CLOCK_TRIES)), key=lambda found: found.round_trip_s)

    def _clock_try(self) -> ClockOffset:
        asked_s, began = self._clock.wall_s(), self._clock.monotonic_s()
        server_s = self._scalar("time()")
        round_trip_s = self._clock.monotonic_s() - began
        return ClockOffset(offset_s=server_s - (asked_s + round_trip_s / 2), round_trip_s=round_trip_s)

    def _scalar(self, expr: str) -> float:
        return float(self._query(expr, None, tuple[float, str])[1])

    def _query(self, expr: str, at_s: float | None, shape: type[T]) -> T:
        params = {"timeout": f"{math.ceil(self.access.timeout_s * 1000)}ms"}
        if at_s is not None:
            params["time"] = f"{at_s:.3f}"
        return self._ask(lambda: self._client.custom_query(expr, params=dict(params)), shape, expr)

    def _ask(self, question: Callable[[], Any], shape: type[T], asked: str) -> T:
        """The answer in that shape, retried while it may help, all under one deadline."""
        deadline = time.monotonic() + self.access.deadline_s
        back_off_s = BACK_OFF_S_MIN
        while True:
            try:
                with self._shield():
                    answer = question()
                return _shaped(answer, shape, asked)
            except KeyError as problem:
                # The client takes the answer apart before we see it.
                raise CouldNotMeasureError(
                    f"the answer to {asked} lacks {problem}", reason=Reason.NOT_PROMETHEUS
                ) from problem
            except CouldNotMeasureError as problem:
                left_s = deadline - time.monotonic() - back_off_s - self.access.timeout_s
                if not problem.retryable or left_s < 0:
                    raise
            time.sleep(back_off_s)
            back_off_s = min(back_off_s * 2, BACK_OFF_S_MAX)

    def _enough(self, found: tuple[Series, ...], selector: str, expect: int) -> tuple[Series, ...]:
        if len(found) >= expect:
            return found
        reason = Reason.TOO_FEW if found else Reason.EMPTY
        raise CouldNotMeasureError(
            f"{selector} has {len(found)} series with a sample in the window, {expect} expected",
            reason=reason,
        )


def _shaped(answer: object, shape: type[T], asked: str) -> T:
    try:
        return read_object(answer, shape)
    except msgspec.ValidationError as problem:
        raise CouldNotMeasureError(f"the answer to {asked}: {problem}", reason=Reason.SHAPE) from problem


def _within(row: _Matrix, start_s: float, end_s: float) -> Series:
    samples = tuple(
        Sample(ts_s, float(text)) for ts_s, text in row.values if start_s - EDGE_S <= ts_s <= end_s + EDGE_S
    )
    return Series(row.metric, samples)


def _not_nan(sample: Sample, what: str) -> Sample:
    if math.isnan(sample.value):
        raise CouldNotMeasureError(f"{what} is NaN", reason=Reason.NAN)
    return sample


def _target(wire: _TargetWire) -> ScrapeTarget:
    return ScrapeTarget(
        labels=wire.labels,
        health=wire.health,
        interval_s=_duration_s(wire.scrape_interval),
        timeout_s=_duration_s(wire.scrape_timeout),
        last_error=wire.last_error,
    )


def _duration_s(text: str) -> float:
    """Seconds of a Prometheus duration (`250ms`, `1m30s`)."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CouldNotMeasureError(f"a scrape interval of {text!r} is not understood", reason=Reason.SHAPE)
    return sum(int(number) * _UNIT_S[unit] for number, unit in parts)
