"""What a delay must do to the data path, and whether it did, all along.

A delay shows in the age of events when the gateway applies them, and in the round trip of the gateway's own
health checks. A delay of L is on the way of one, two or no legs of each, by direction; the gateway is the
source of the fault and the engines its target, and a mesh shapes what leaves a pod:

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

An event age proves only where an event was; an engine that stays silent leaves the proof to the round trip.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resync.run.effects.signs import Effect, PodEffect, Sign
from resync.run.errors import UnmeasuredError
from resync.run.readings import (
    AGE,
    PEER,
    RTT,
    Reading,
    all_measured,
    fresh,
    low_ms,
    measured,
    median_ms,
    piece_length_s,
    pieces,
    spread_ms,
)
from resync.run.samples import Samples, Window
from resync.run.settings import Direction, Settings

SLACK_MS = 5.0
"""How far below the expected delay a measurement may fall: timer resolution, spread of the baseline."""

CALM_MS_MIN = 5.0
"""A spread of the round trip below this is no sign of an earlier fault."""

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
class PodReadings:
    """What was measured for one targeted pod, over baseline and fault."""

    pod_key: str
    rtt: Sequence[Reading]
    age: Sequence[Reading]


def _added(base_ms: float | None, measured: Sequence[Reading]) -> float | None:
    now = median_ms(measured)
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
    base_rtt, base_age = median_ms(fresh(pod.rtt, baseline)), median_ms(fresh(pod.age, baseline))
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
    seen = {
        "event_age_added_ms": _added(base_age, now_age),
        "rtt_added_ms": _added(base_rtt, now_rtt),
        "readings": float(len(now_rtt)),
    }
    return PodEffect(pod.pod_key, seen, tuple(doubts))


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


def _expected_rtt(settings: Settings) -> Expected:
    return expected_rtt(settings.direction, latency_ms=settings.latency_ms, jitter_ms=settings.jitter_ms)


def _baseline_low_ms(baseline: Samples, pod_key: str) -> float:
    low = low_ms(fresh(measured(baseline, RTT, pod_key), baseline.window))
    if low is None:
        raise UnmeasuredError(
            f"no round trip to {pod_key} was measured in the baseline",
            next_step="see that the gateway exports resync_gateway_engine_rtt_seconds for every engine",
        )
    return low


class Delay:
    """Latency with jitter on the path between gateway and engines."""

    metrics = RTT

    def named(self, settings: Settings, pods: Sequence[str]) -> str:
        """Latency, jitter and direction."""
        return f"{settings.latency_ms:g} ms +- {settings.jitter_ms:g} ms, {settings.direction}"

    def refusal(self, settings: Settings) -> tuple[str, str] | None:
        """A delay that differs from none by less than measuring does cannot be proven."""
        if _expected_rtt(settings).can_be_told:
            return None
        said = f"{settings.latency_ms:g} ms +- {settings.jitter_ms:g} ms, {settings.direction}"
        return (
            f"{said}, cannot be told from no delay: its effect could never be proven",
            "choose a longer RESYNC_LATENCY or a smaller RESYNC_JITTER",
        )

    def calm(self, samples: Samples, pod_key: str, settings: Settings) -> bool:
        """Whether the round trip stays put: an earlier fault may still be in the window."""
        added_ms = _expected_rtt(settings).added_ms
        return spread_ms(fresh(measured(samples, RTT, pod_key), samples.window)) <= max(
            CALM_MS_MIN, added_ms / 4
        )

    def signs(self, baseline: Samples, seen: Samples, pod_key: str, settings: Settings) -> list[Sign]:
        """One for every round trip wholly inside the window."""
        low = _baseline_low_ms(baseline, pod_key)
        least_ms = _expected_rtt(settings).threshold_ms(low)
        return [
            Sign(
                r.done_s,
                r.took_ms >= least_ms,
                f"the round trip to {pod_key} is {r.took_ms:.1f} ms, {low:.1f} ms before the fault",
            )
            for r in fresh(measured(seen, RTT, pod_key), seen.window)
        ]

    def back(self, baseline: Samples, seen: Samples, pod_key: str, settings: Settings) -> float | None:
        """The first round trip with less than half of what the delay adds."""
        quick_ms = _baseline_low_ms(baseline, pod_key) + _expected_rtt(settings).added_ms / 2
        trips = fresh(measured(seen, RTT, pod_key), seen.window)
        return next((r.done_s for r in trips if r.took_ms < quick_ms), None)

    def judged(self, baseline: Samples, fault: Samples, pods: Sequence[str], settings: Settings) -> Effect:
        """Every round trip and event age of every pod, and the untouched peer."""
        delay = {"latency_ms": settings.latency_ms, "jitter_ms": settings.jitter_ms}
        phases = (baseline, fault)
        judged = [
            pod_effect(
                PodReadings(pod, all_measured(phases, RTT, pod), all_measured(phases, AGE, pod)),
                baseline=baseline.window,
                window=fault.window,
                age=expected_age(settings.direction, **delay),
                rtt=_expected_rtt(settings),
                piece_s=piece_length_s(fault.interval_s),
            )
            for pod in pods
        ]
        before, now = baseline.level(PEER), fault.level(PEER)
        before_ms, now_ms = (None if v is None else v * 1000 for v in (before, now))
        added = None if before_ms is None or now_ms is None else round(now_ms - before_ms, 3)
        doubts = peer_doubt(before_ms, now_ms, latency_ms=settings.latency_ms)
        return Effect(tuple(judged), added, doubts)
