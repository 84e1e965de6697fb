"""What a surge must be: that much load really sent.

The load says what it was asked for and counts what it sent; a sender that could not keep up has tested less
than it was told to, whatever the answers were like.
"""

import math
from collections.abc import Sequence

from resync.run.effects.signs import Effect, PodEffect, Sign, doubts_of
from resync.run.observations import Series
from resync.run.samples import Samples
from resync.run.settings import Settings

ASKED = "resync_load_asked_rate"
SENT = "resync_load_sent_total"
NOISE_SIGMAS = 3.0
ACHIEVED_SHARE_MIN = 0.9
"""Below this share of what was asked for, the surge was another one."""


class Surge:
    """More requests for a while."""

    metrics = (ASKED, SENT)

    def named(self, settings: Settings, pods: Sequence[str]) -> str:
        """How much more, and whose."""
        return f"{settings.surge_rate:g} more requests/s of {', '.join(pods)}"

    def refusal(self, settings: Settings) -> tuple[str, str] | None:
        """Every surge that is sent can be told."""
        return None

    def calm(self, samples: Samples, pod_key: str, settings: Settings) -> bool:
        """Whether the load asks for the same rate all along."""
        return len({v for s in _of(samples, ASKED, pod_key) for _, v in samples.inside(s)}) == 1

    def signs(self, baseline: Samples, seen: Samples, pod_key: str, settings: Settings) -> list[Sign]:
        """One for every scrape: whether the load asks for the usual rate and the surge's."""
        wanted = _usual(baseline, pod_key) + settings.surge_rate
        return [
            Sign(t, shows=v >= wanted * (1 - 1e-9), says=f"{pod_key} asks for {v:g} of {wanted:g} requests/s")
            for s in _of(seen, ASKED, pod_key)
            for t, v in seen.inside(s)
        ]

    def back(self, baseline: Samples, seen: Samples, pod_key: str, settings: Settings) -> float | None:
        """The first scrape at which it asks for no more than usual."""
        usual = _usual(baseline, pod_key)
        points = (p for s in _of(seen, ASKED, pod_key) for p in seen.inside(s))
        return next((t for t, v in points if v <= usual), None)

    def judged(self, baseline: Samples, fault: Samples, pods: Sequence[str], settings: Settings) -> Effect:
        """The rate that was asked for, all along, and sent."""
        return Effect(tuple(self._pod(baseline, fault, pod, settings) for pod in pods))

    def _pod(self, baseline: Samples, fault: Samples, pod_key: str, settings: Settings) -> PodEffect:
        signs = self.signs(baseline, fault, pod_key, settings)
        doubts = doubts_of(signs, pod_key, fault.window, fault.interval_s)
        wanted = _usual(baseline, pod_key) + settings.surge_rate
        sent = sum(fault.growth(s)[0] for s in _of(fault, SENT, pod_key))
        sent_per_s = sent / fault.window_s
        if sent < least_sent(wanted * fault.window_s):
            doubts += (f"{pod_key} sent {sent_per_s:.1f} of {wanted:g} requests/s: it could not keep up",)
        return PodEffect(pod_key, {"asked_per_s": wanted, "sent_per_s": round(sent_per_s, 1)}, doubts)


def least_sent(expected: float) -> float:
    """How many requests must have been sent of `expected`, which are due at random (Poisson)."""
    return expected - max((1 - ACHIEVED_SHARE_MIN) * expected, NOISE_SIGMAS * math.sqrt(expected))


def _usual(baseline: Samples, pod_key: str) -> float:
    rates = [v for s in _of(baseline, ASKED, pod_key) for _, v in baseline.inside(s)]
    return min(rates, default=0.0)


def _of(samples: Samples, metric: str, pod_key: str) -> list[Series]:
    name = pod_key.partition("/")[2]
    return [s for s in samples.all(metric) if s.labels.get("pod") == name]
