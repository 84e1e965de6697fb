"""Round trips to one URL, over one kept-open connection of their own, at moments in step with nothing.

The connection is used by nobody else, so no other request can take it. A request for which it had to be made
first holds two round trips, and its `Trip` says so. Requests are sequential and their wait is limited, so
they cannot pile up.

Everything around a process that is observed is done every so often: scrapes, cuts, what it does itself. A
round trip asked for in step with one of them, or drifting past it slowly, meets the same work for seconds on
end and takes it for the path's. So its moments are chance; then the work of others is met now and then, and a
median does not see it.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

from resync.kits.clocks import Clock

GAP_SHARES = (0.5, 1.5)
"""The shortest and longest gap, in periods. A whole period apart: then any phase of one is equally likely."""


def uneven_gaps_s(every_s: float, *, dice: random.Random) -> Iterator[float]:
    """Seconds between one request and the next, for ever, `every_s` on average, in step with nothing."""
    while True:
        yield every_s * dice.uniform(*GAP_SHARES)


@dataclass(frozen=True, slots=True)
class Trip:
    """One request that was answered; `connected` if a connection had to be made for it."""

    status: int
    took_s: float
    connected: bool

    @property
    def pure_s(self) -> float | None:
        """Seconds of the round trip alone, None where it holds the making of a connection too."""
        return None if self.connected else self.took_s


class RoundTrips:
    """Requests for as long as `gaps_s` says when to ask next; `report` gets each, None for no answer."""

    def __init__(
        self,
        url: str,
        *,
        bind_ip: str,
        gaps_s: Iterable[float],
        timeout_s: float,
        clock: Clock,
        report: Callable[[Trip | None], None],
    ) -> None:
        self._url = url
        self._bind_ip = bind_ip
        self._gaps_s = gaps_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._clock = clock
        self._report = report
        self._connected_now = False

    async def run(self) -> None:
        """Ask until the gaps end or it is cancelled; the session is closed on every way out."""
        async with self._session() as session:
            for gap_s in self._gaps_s:
                began_s = self._clock.monotonic_s()
                self._report(await self._ask(session))
                await asyncio.sleep(max(0.0, began_s + gap_s - self._clock.monotonic_s()))

    def _session(self) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(self._note_connection)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, local_addr=(self._bind_ip, 0), keepalive_timeout=60),
            timeout=self._timeout,
            trace_configs=[trace],
        )

    async def _note_connection(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        _params: aiohttp.TraceConnectionCreateStartParams,
    ) -> None:
        self._connected_now = True

    async def _ask(self, session: aiohttp.ClientSession) -> Trip | None:
        self._connected_now = False
        began_s = self._clock.monotonic_s()
        try:
            async with session.get(self._url) as answer:
                await answer.read()
                took_s = self._clock.monotonic_s() - began_s
                return Trip(answer.status, took_s, self._connected_now)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
