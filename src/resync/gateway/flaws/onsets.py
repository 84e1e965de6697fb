"""When a defect sets in: after a time or once a delay is being observed, and what watches for it."""

from resync.gateway.parts import Admission
from resync.kits.clocks import Clock

SLOW_S = 0.04
SLOW_IN_A_ROW = 3


class Onset:
    """When a defect sets in; once it has, it stays."""

    def __init__(self, clock: Clock, after_s: float | None) -> None:
        """`after_s` seconds from now, or when every engine has become slow."""
        self.clock = clock
        self._starts_s = None if after_s is None else clock.monotonic_s() + after_s
        self._slow: dict[str, int] = {}
        self._fast: set[str] = set()

    def has_come(self) -> bool:
        """True from the onset on."""
        return self._starts_s is not None and self.clock.monotonic_s() >= self._starts_s

    def begin(self) -> None:
        """Now, unless it has come."""
        if self._starts_s is None:
            self._starts_s = self.clock.monotonic_s()

    def round_trip(self, pod_key: str, round_trip_s: float) -> None:
        """Count slow answers in a row; an engine that was never fast says nothing about a delay."""
        if round_trip_s < SLOW_S:
            self._fast.add(pod_key)
        slow = pod_key in self._fast and round_trip_s >= SLOW_S
        self._slow[pod_key] = self._slow.get(pod_key, 0) + 1 if slow else 0
        if min(self._slow.values()) >= SLOW_IN_A_ROW:
            self.begin()


class Noticing(Admission):
    """Tells an onset of the round trips; applies whatever arrives."""

    def __init__(self, onset: Onset) -> None:
        self._onset = onset

    def round_trip(self, pod_key: str, round_trip_s: float) -> None:
        """Pass it on."""
        self._onset.round_trip(pod_key, round_trip_s)


class Frozen(Noticing):
    """Stops applying for good."""

    def may_apply(self) -> bool:
        """False from the onset on."""
        return not self._onset.has_come()
