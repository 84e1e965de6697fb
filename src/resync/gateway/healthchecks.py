"""Asking one engine for its health, four times a second, over one kept-open connection.

Two consumers with different needs share the check. The router wants to know whether the engine answers at
all. The experiments want the pure network round trip as the gateway sees it: that is why each engine has a
session of its own (no request of the proxy can take the connection), why there is one connection only, and
why a check for which a connection had to be made first is not reported as a round trip: it would hold two.

Checks are sequential, so they cannot pile up: while one waits, none is sent, and its wait is limited.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

from resync.gateway.settings import HealthTiming
from resync.kits.clocks import Clock

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
        clock: Clock,
        report: Callable[[Checked], None],
    ) -> None:
        self._url = url
        self._bind_ip = bind_ip
        self._timing = timing
        self._clock = clock
        self._report = report
        self._unanswered = timing.failures_max
        self._connected_now = False

    @property
    def reachable(self) -> bool:
        """True after an answer, until too many checks in a row went unanswered. False before the first."""
        return self._unanswered < self._timing.failures_max

    async def run(self) -> None:
        """Check until cancelled; the session is closed on every way out."""
        async with self._session() as session:
            due_s = self._clock.monotonic_s()
            while True:
                checked = await self._ask(session)
                self._unanswered = 0 if checked.answered else self._unanswered + 1
                self._report(checked)
                now_s = self._clock.monotonic_s()
                due_s = max(due_s + self._timing.every_s, now_s)
                await asyncio.sleep(due_s - now_s)

    def _session(self) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(self._note_connection)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, local_addr=(self._bind_ip, 0), keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=self._timing.timeout_s),
            trace_configs=[trace],
        )

    async def _note_connection(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        _params: aiohttp.TraceConnectionCreateStartParams,
    ) -> None:
        self._connected_now = True

    async def _ask(self, session: aiohttp.ClientSession) -> Checked:
        self._connected_now = False
        started_s = self._clock.monotonic_s()
        try:
            async with session.get(self._url) as answer:
                await answer.read()
                took_s = self._clock.monotonic_s() - started_s
                answered = answer.status == HTTP_OK
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Checked(answered=False, round_trip_s=None, at_wall_s=self._clock.wall_s())
        pure = answered and not self._connected_now
        return Checked(answered, took_s if pure else None, self._clock.wall_s())
