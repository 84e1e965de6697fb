"""Did the fault bite? What a delay must do to the data path, and whether it did, all along.

A mesh that says "injected" has said that its calls returned, no more (Chaos Mesh issues 3302, 4903). So the
effect is measured where the fault cannot lie: in the age of events when the gateway applies them, and in the
round trip of the gateway's own health checks. A delay of L is on the way of one, two or no legs of each, by
direction; the gateway is the source of the fault and the engines its target, and a mesh shapes what leaves a
pod:

    direction   event age   round trip
    to          + 0         + L         (requests and acknowledgements are late, events are not)
    from        + L         + L
    both        + L         + 2 L

The naive proof compares two averages. It would accept a fault that stood for half of the window. Ours cuts
the window into pieces of about a second and wants, for every targeted pod and in every piece, at least one
round trip measured *wholly inside the fault*, and every such measurement (event ages too) at least at

    baseline low + expected - jitter of the legs - 5 ms

where the low is the 10th percentile of the baseline: a delayed path is never faster than the best of an
undelayed one plus the delay, while its median moves with the load of the machine.

An event age proves only where an event was; an engine that stays silent leaves the proof to the round trip. A
measurement counts when it began after the injection was complete, by the timestamp exported beside it: a
scrape repeats old values.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from resync.run.evidence import Series
from resync.run.samples import Samples, Window
from resync.run.settings import Direction, Settings

SLACK_MS = 5.0
"""How far below the expected delay a measurement may fall: timer resolution and the spread of the baseline.
"""

PIECE_S = 1.0
"""Length of the pieces in which the effect has to be seen, at 4 measurements a second."""

SCRAPES_PER_PIECE = 4.0
PEER_SHARE = 0.5
"""An untouched peer that slowed by more than this share of the delay was not untouched."""

LEGS: Mapping[Direction, tuple[int, int]] = {"to": (0, 1), "from": (1, 1), "both": (1, 2)}
"""Delayed legs of (event age, round trip) by direction."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a delay has to add: milliseconds, and how much less jitter may make of it."""

    added_ms: float
    jitter_ms: float

    def threshold_ms(self, baseline_ms: float) -> float:
        """The least a measurement under the fault may show."""
        return baseline_ms + self.added_ms - self.jitter_ms - SLACK_MS

    @property
    def can_be_told(self) -> bool:
        """Whether a path with the delay differs from one without it by more than measuring does."""
        return self.added_ms - self.jitter_ms - SLACK_MS >= SLACK_MS


def expected_age(direction: Direction, *, latency_ms: float, jitter_ms: float) -> Expected:
    """What the delay adds to the age of an event at its application."""
    legs = LEGS[direction][0]
    return Expected(latency_ms * legs, jitter_ms * legs)


def expected_rtt(direction: Direction, *, latency_ms: float, jitter_ms: float) -> Expected:
    """What the delay adds to the gateway's round trip to an engine."""
    legs = LEGS[direction][1]
    return Expected(latency_ms * legs, jitter_ms * legs)


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


@dataclass(frozen=True, slots=True)
class PodReadings:
    """What was measured for one targeted pod, over baseline and fault."""

    pod_key: str
    rtt: Sequence[Reading]
    age: Sequence[Reading]


@dataclass(frozen=True, slots=True)
class PodEffect:
    """What the fault did to one pod; `doubts` says where it was not seen (empty: proven)."""

    pod_key: str
    rtt_added_ms: float | None
    age_added_ms: float | None
    readings: int
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect on every targeted pod."""

    pods: tuple[PodEffect, ...]
    peer_added_ms: float | None = None
    doubts: tuple[str, ...] = field(default=())

    @property
    def proven(self) -> bool:
        """Whether the fault stood on the data path of every pod, all along."""
        return bool(self.pods) and not self.all_doubts

    @property
    def all_doubts(self) -> tuple[str, ...]:
        """Everything that speaks against it."""
        return (*self.doubts, *(d for pod in self.pods for d in pod.doubts))


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


def _median_ms(measured: Sequence[Reading]) -> float | None:
    return statistics.median(r.took_ms for r in measured) if measured else None


def _added(base_ms: float | None, measured: Sequence[Reading]) -> float | None:
    now = _median_ms(measured)
    return None if now is None or base_ms is None else round(now - base_ms, 3)


def _low(pod_key: str, what: str, measured: Sequence[Reading], least_ms: float) -> list[str]:
    low = [r for r in measured if r.took_ms < least_ms]
    if not low:
        return []
    first = low[0]
    where = f"the first {first.took_ms:.1f} ms at {first.done_s:.3f}"
    return [f"{pod_key}: {len(low)} of {len(measured)} {what} below {least_ms:.1f} ms, {where}"]


def _gaps(pod_key: str, measured: Sequence[Reading], window: Window, piece_s: float) -> list[str]:
    empty = [p for p in pieces(window, piece_s) if not any(p[0] <= r.done_s <= p[1] for r in measured)]
    return [f"{pod_key}: no round trip measured between {a:.3f} and {b:.3f}" for a, b in empty[:1]]


def pod_effect(
    pod: PodReadings,
    *,
    baseline: Window,
    window: Window,
    age: Expected,
    rtt: Expected,
    piece_s: float,
) -> PodEffect:
    """The effect on one pod over `window`, compared with its own `baseline`."""
    base_rtt, base_age = _median_ms(fresh(pod.rtt, baseline)), _median_ms(fresh(pod.age, baseline))
    now_rtt, now_age = fresh(pod.rtt, window), fresh(pod.age, window)
    low_rtt, low_age = low_ms(fresh(pod.rtt, baseline)), low_ms(fresh(pod.age, baseline))
    doubts: list[str] = []
    if not rtt.can_be_told:
        doubts.append(
            f"{pod.pod_key}: {rtt.added_ms:g} ms +- {rtt.jitter_ms:g} ms on the round trip "
            "cannot be told from no delay: choose a longer latency or a smaller jitter"
        )
    if low_rtt is None:
        doubts.append(f"{pod.pod_key}: no round trip measured in the baseline")
    else:
        doubts += _low(pod.pod_key, "round trips", now_rtt, rtt.threshold_ms(low_rtt))
    doubts += _gaps(pod.pod_key, now_rtt, window, piece_s)
    if low_age is not None and age.added_ms > 0:
        doubts += _low(pod.pod_key, "event ages", now_age, age.threshold_ms(low_age))
    return PodEffect(
        pod.pod_key, _added(base_rtt, now_rtt), _added(base_age, now_age), len(now_rtt), tuple(doubts)
    )


def peer_doubt(baseline_ms: float | None, fault_ms: float | None, *, latency_ms: float) -> tuple[str, ...]:
    """Whether a peer the fault must not touch was touched.

    Silence about it is no doubt, since not every target has one.
    """
    if (
        baseline_ms is None
        or fault_ms is None
        or fault_ms - baseline_ms <= max(SLACK_MS, PEER_SHARE * latency_ms)
    ):
        return ()
    return (f"a peer outside the fault slowed by {fault_ms - baseline_ms:.1f} ms: the fault is too wide",)


RTT = ("resync_gateway_engine_rtt_seconds", "resync_gateway_engine_rtt_timestamp_seconds")
AGE = ("resync_gateway_last_event_age_seconds", "resync_gateway_applied_timestamp_seconds")
PEER = "resync_peer_rtt_seconds"


def measured(samples: Samples, pair: tuple[str, str], pod_key: str) -> list[Reading]:
    """Every distinct measurement of one pod in `samples`, whichever gateway took it."""
    stamps = {_identity(s): s for s in samples.all(pair[1], pod_key=pod_key)}
    values = samples.all(pair[0], pod_key=pod_key)
    return [r for v in values if (s := stamps.get(_identity(v))) is not None for r in readings(v, s)]


def _identity(series: Series) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(series.labels.items()))


def effect_of(baseline: Samples, fault: Samples, *, pods: Sequence[str], settings: Settings) -> Effect:
    """What the fault did to every one of `pods`, from the raw samples of baseline and fault window."""
    delay = {"latency_ms": settings.latency_ms, "jitter_ms": settings.jitter_ms}
    age, rtt = expected_age(settings.direction, **delay), expected_rtt(settings.direction, **delay)
    judged = [
        pod_effect(
            PodReadings(
                pod,
                [*measured(baseline, RTT, pod), *measured(fault, RTT, pod)],
                [*measured(baseline, AGE, pod), *measured(fault, AGE, pod)],
            ),
            baseline=baseline.window,
            window=fault.window,
            age=age,
            rtt=rtt,
            piece_s=piece_length_s(fault.interval_s),
        )
        for pod in pods
    ]
    before, now = baseline.level(PEER), fault.level(PEER)
    before_ms, now_ms = (None if v is None else v * 1000 for v in (before, now))
    added = None if before_ms is None or now_ms is None else round(now_ms - before_ms, 3)
    nothing = () if judged else ("no pod was targeted",)
    return Effect(
        tuple(judged), added, (*nothing, *peer_doubt(before_ms, now_ms, latency_ms=settings.latency_ms))
    )
