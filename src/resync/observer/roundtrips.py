"""The observer's own round trip to each engine, over one kept-open connection.

The observer stands outside the fault between gateway and engines, so this is the untouched peer: it must
not move while a fault is on. A request for which a connection had to be made first holds two round trips
and is not reported. Requests are sequential and their wait is limited, so they cannot pile up.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp

from resync.kits.clocks import Clock


class RoundTrips:
    """Endless measuring of one engine; `report` gets seconds."""

    def __init__(
        self,
        url: str,
        *,
        bind_ip: str,
        every_s: float,
        timeout_s: float,
        clock: Clock,
        report: Callable[[float], None],
    ) -> None:
        self._url = url
        self._bind_ip = bind_ip
        self._every_s = every_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._clock = clock
        self._report = report
        self._connected_now = False

    async def run(self) -> None:
        """Measure until cancelled; the session is closed on every way out."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(self._note_connection)
        connector = aiohttp.TCPConnector(limit=1, local_addr=(self._bind_ip, 0), keepalive_timeout=60)
        async with aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, trace_configs=[trace]
        ) as session:
            while True:
                began_s = self._clock.monotonic_s()
                took_s = await self._measure(session)
                if took_s is not None:
                    self._report(took_s)
                await asyncio.sleep(max(0.0, began_s + self._every_s - self._clock.monotonic_s()))

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
