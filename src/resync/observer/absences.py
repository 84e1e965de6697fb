"""How long a pod may be on one side only before that is a finding.

The observer and the gateway watch the same API, each at its own pace. A pod that engines have and the
gateway's view has not is, for an instant, merely news that has not arrived; after that it is an engine
nobody subscribed to, and every block it holds is missing. The same the other way round: entries of a pod
that is gone are phantoms, once the news had time to arrive. Until the allowance has passed the cut is not
taken (and counted as such); it is never taken as 0.

The first subscription of a pod gets a longer allowance than a later absence: a starting engine is Running
before its ports are open.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from resync.kits.clocks import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """Seconds a pod may be on one side only."""

    first_subscription_s: float = 10.0
    later_s: float = 1.0


class Absences:
    """The memory for one gateway: since when which pod is on one side only."""

    def __init__(self, *, clock: Clock, allowances: Allowances) -> None:
        self._clock = clock
        self._allowances = allowances
        self._since_s: dict[str, float] = {}
        self._seen_together: set[str] = set()

    def update(self, *, engines: AbstractSet[str], viewed: AbstractSet[str]) -> None:
        """Take in which pods each side names now."""
        one_sided = engines ^ viewed
        now_s = self._clock.monotonic_s()
        self._since_s = {pod_key: self._since_s.get(pod_key, now_s) for pod_key in one_sided}
        self._seen_together = (self._seen_together | (engines & viewed)) & (engines | viewed)

    def overdue(self, pod_key: str) -> bool:
        """True when `pod_key` has been on one side only for longer than it may."""
        since_s = self._since_s.get(pod_key)
        if since_s is None:
            return False
        known = pod_key in self._seen_together
        limit_s = self._allowances.later_s if known else self._allowances.first_subscription_s
        return self._clock.monotonic_s() - since_s >= limit_s
