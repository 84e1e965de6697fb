"""The observer's own round trip to each engine, over one kept-open connection.

The observer stands outside the fault between gateway and engines, so this is the untouched peer: it must
not move while a fault is on. A request for which a connection had to be made first holds two round trips
and is not reported. Requests are sequential and their wait is limited, so they cannot pile up.

Everything here and around it is done every so often: cuts, scrapes, the gateway's own checks. A round trip
asked for in step with one of them would meet the same work for seconds on end and take it for the path's. So
its moments are chance; then the work of others is met now and then, and the median does not see it.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace

import aiohttp

from resync.kits.clocks import Clock

GAP_SHARES = (0.5, 1.5)
"""The shortest and longest gap, in periods. A whole period apart: then any phase of one is equally likely."""


def uneven_gaps_s(every_s: float, *, dice: random.Random) -> Iterator[float]:
    """Seconds between one request and the next, for ever, `every_s` on average, in step with nothing."""
    while True:
        yield every_s * dice.uniform(*GAP_SHARES)


class RoundTrips:
    """The measuring of one engine, as long as `gaps_s` says when to ask next; `report` gets seconds."""

    def __init__(
        self,
        url: str,
        *,
        bind_ip: str,
        gaps_s: Iterable[float],
        timeout_s: float,
        clock: Clock,
        report: Callable[[float], None],
    ) -> None:
        self._url = url
        self._bind_ip = bind_ip
        self._gaps_s = gaps_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._clock = clock
        self._report = report
        self._connected_now = False

    async def run(self) -> None:
        """Measure until the gaps end or it is cancelled; the session is closed on every way out."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(self._note_connection)
        connector = aiohttp.TCPConnector(limit=1, local_addr=(self._bind_ip, 0), keepalive_timeout=60)
        async with aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, trace_configs=[trace]
        ) as session:
            for gap_s in self._gaps_s:
                began_s = self._clock.monotonic_s()
                took_s = await self._measure(session)
                if took_s is not None:
                    self._report(took_s)
                await asyncio.sleep(max(0.0, began_s + gap_s - self._clock.monotonic_s()))

    async def _note_connection(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        _params: aiohttp.TraceConnectionCreateStartParams,
    ) -> None:
        self._connected_now = True

    async def _measure(self, session: aiohttp.ClientSession) -> float | None:
        self._connected_now = False
        began_s = self._clock.monotonic_s()
        try:
            async with session.get(self._url) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        return None if self._connected_now else self._clock.monotonic_s() - began_s
