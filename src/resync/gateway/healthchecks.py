"""Asking one engine for its health, several times a second.

Two consumers with different needs share the check. The router wants to know whether the engine answers at
all. The experiments want the pure network round trip as the gateway sees it: that is why a check has a
connection of its own, and moments of chance (`resync.kits.roundtrips`).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from resync.gateway.settings import HealthTiming
from resync.kits.clocks import Clock
from resync.kits.roundtrips import RoundTrips, Trip, uneven_gaps_s

HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class Checked:
    """One check: whether the engine answered 200, and the round trip where it was a pure one."""

    answered: bool
    round_trip_s: float | None
    at_wall_s: float


class HealthCheck:
    """The endless check of one engine; `reachable` is what the router goes by."""

    def __init__(
        self,
        url: str,
        *,
        bind_ip: str,
        timing: HealthTiming,
        dice: random.Random,
        clock: Clock,
        report: Callable[[Checked], None],
    ) -> None:
        self._trips = RoundTrips(
            url,
            bind_ip=bind_ip,
            gaps_s=uneven_gaps_s(timing.every_s, dice=dice),
            timeout_s=timing.timeout_s,
            clock=clock,
            report=self._judge,
        )
        self._failures_max = timing.failures_max
        self._unanswered = timing.failures_max
        self._clock = clock
        self._report = report

    @property
    def reachable(self) -> bool:
        """True after an answer, until too many checks in a row went unanswered. False before the first."""
        return self._unanswered < self._failures_max

    async def run(self) -> None:
        """Check until cancelled; the connection is closed on every way out."""
        await self._trips.run()

    def _judge(self, trip: Trip | None) -> None:
        if trip is None or trip.status != HTTP_OK:
            self._unanswered += 1
            self._report(Checked(answered=False, round_trip_s=None, at_wall_s=self._clock.wall_s()))
        else:
            self._unanswered = 0
            self._report(Checked(answered=True, round_trip_s=trip.pure_s, at_wall_s=self._clock.wall_s()))
