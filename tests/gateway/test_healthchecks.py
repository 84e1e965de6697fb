"""Health checks: one connection, one at a time, a limit on each, and only pure round trips are reported."""

import asyncio
import random
from typing import Self

import pytest
from aiohttp import web

from resync.gateway.healthchecks import Checked, HealthCheck
from resync.gateway.settings import HealthTiming
from resync.kits.clocks import SystemClock
from resync.kits.waits import wait_until_async

pytestmark = pytest.mark.integration

# Longer than any stall: only the test of silence wants it to end soon.
TIMING = HealthTiming(every_s=0.02, timeout_s=10.0, failures_max=2)
IMPATIENT = HealthTiming(every_s=0.02, timeout_s=0.1, failures_max=2)


class Engine:
    """A health endpoint that can be slow, and counts connections and simultaneous requests."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.status = 200
        self.peers: set[tuple[str, int]] = set()
        self.running = 0
        self.running_max = 0

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/health", self._health)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/health"
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(self.delay_s, over.set)
            await over.wait()
        finally:
            self.running -= 1
        return web.Response(status=self.status)


class Checking:
    """A health check that runs, and what it reported."""

    def __init__(self, engine: Engine, timing: HealthTiming = TIMING) -> None:
        self.reports: list[Checked] = []
        self.check = HealthCheck(
            engine.url,
            bind_ip="127.0.0.1",
            timing=timing,
            dice=random.Random(0),
            clock=SystemClock(),
            report=self.reports.append,
        )

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self.check.run())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def reported(self, many: int) -> None:
        """Wait for that many more reports."""
        goal = len(self.reports) + many

        async def enough() -> bool:
            return len(self.reports) >= goal

        await wait_until_async(enough, what=f"{many} reports", timeout_s=20, every_s=0.01)

    async def reached(self) -> None:
        """Wait until the engine counts as reachable."""

        async def is_so() -> bool:
            return self.check.reachable

        await wait_until_async(is_so, what="the engine to be reachable", timeout_s=20, every_s=0.01)


def test_one_connection_is_kept_and_the_first_check_is_no_round_trip() -> None:
    async def scenario() -> None:
        async with Engine() as engine, Checking(engine) as checking:
            await checking.reported(6)
            assert len(engine.peers) == 1
            assert checking.reports[0].answered
            assert checking.reports[0].round_trip_s is None
            assert all(report.round_trip_s is not None for report in checking.reports[1:])

    asyncio.run(scenario())


def test_the_round_trip_is_measured() -> None:
    async def scenario() -> None:
        async with Engine() as engine, Checking(engine) as checking:
            await checking.reported(2)
            engine.delay_s = 0.05
            await checking.reported(5)
            # One may have been under way when the delay began; a stall only adds to any of the others.
            took = [report.round_trip_s for report in checking.reports[-4:]]
            assert all(took_s is not None and took_s >= 0.05 for took_s in took)
            assert min(took_s for took_s in took if took_s is not None) < 0.1

    asyncio.run(scenario())


def test_silence_ends_at_the_limit_makes_it_unreachable_and_never_piles_up() -> None:
    async def scenario() -> None:
        async with Engine() as engine, Checking(engine, IMPATIENT) as checking:
            await checking.reached()
            engine.delay_s = 10.0
            await checking.reported(4)
            assert not checking.check.reachable
            assert [report.answered for report in checking.reports[-2:]] == [False, False]
            engine.delay_s = 0.0
            await checking.reached()
            assert engine.running_max <= 2

    asyncio.run(scenario())


def test_a_refusal_is_not_an_answer() -> None:
    async def scenario() -> None:
        async with Engine() as engine, Checking(engine) as checking:
            await checking.reported(2)
            engine.status = 503
            await checking.reported(3)
            assert not checking.check.reachable
            assert checking.reports[-1].round_trip_s is None

    asyncio.run(scenario())


def test_nobody_listening_is_not_reachable() -> None:
    async def scenario() -> None:
        async with Engine() as engine:
            pass
        async with Checking(engine) as checking:
            await checking.reported(3)
            assert not checking.check.reachable

    asyncio.run(scenario())
