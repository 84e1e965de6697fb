"""Round trips: at moments in step with nothing, over one connection, and none that holds two."""

import asyncio
import itertools
import random
from collections import Counter

import pytest
from aiohttp import web

from resync.kits.clocks import SystemClock
from resync.observer.roundtrips import RoundTrips, gaps_s

EVERY_S = 0.25
TENTHS = 10
MANY = 4_000


@pytest.mark.unit
@pytest.mark.parametrize("other_s", [0.25, 0.23, 0.125, 0.05])
@pytest.mark.parametrize("seed", range(5))
def test_they_meet_every_phase_of_something_periodic_equally_often(other_s: float, seed: int) -> None:
    """With one fixed period they would meet one phase for as long as the clocks agree, or a few for ever."""
    gaps = itertools.islice(gaps_s(EVERY_S, dice=random.Random(seed)), MANY)
    met = Counter(int(at_s % other_s / other_s * TENTHS) for at_s in itertools.accumulate(gaps))
    assert set(met) == set(range(TENTHS))
    assert all(many == pytest.approx(MANY / TENTHS, rel=0.25) for many in met.values()), met


@pytest.mark.unit
def test_they_are_as_many_as_the_period_says() -> None:
    gaps = list(itertools.islice(gaps_s(EVERY_S, dice=random.Random(0)), MANY))
    assert sum(gaps) / MANY == pytest.approx(EVERY_S, rel=0.02)
    assert min(gaps) >= EVERY_S / 2
    assert max(gaps) <= EVERY_S * 3 / 2


async def measured(gaps: list[float], *, hang_up: bool = False) -> tuple[list[float], list[float], int]:
    """What was reported, when each request came (seconds), and over how many connections."""
    came: list[float] = []
    peers = set()
    reports: list[float] = []
    clock = SystemClock()

    async def health(request: web.Request) -> web.Response:
        assert request.transport is not None
        came.append(clock.monotonic_s())
        peers.add(request.transport.get_extra_info("peername"))
        answer = web.Response()
        if hang_up:
            answer.force_close()
        return answer

    application = web.Application()
    application.router.add_get("/health", health)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/health"
        await RoundTrips(
            url, bind_ip="127.0.0.1", gaps=gaps, timeout_s=10.0, clock=clock, report=reports.append
        ).run()
    finally:
        await runner.cleanup()
    return reports, came, len(peers)


@pytest.mark.integration
def test_all_but_the_first_are_reported_over_one_connection() -> None:
    reports, came, connections = asyncio.run(measured([0.0] * 6))
    assert (len(reports), len(came), connections) == (5, 6, 1)
    assert min(reports) > 0


@pytest.mark.integration
def test_a_trip_for_which_a_connection_was_made_is_not_reported() -> None:
    reports, came, _ = asyncio.run(measured([0.0] * 3, hang_up=True))
    assert (reports, len(came)) == ([], 3)


@pytest.mark.integration
def test_the_gaps_are_kept_from_one_request_to_the_next() -> None:
    """The last request comes all gaps after the first was sent, whatever the machine does meanwhile."""
    gaps = [0.0, 0.05, 0.2, 0.0]
    began_s = SystemClock().monotonic_s()
    _, came, _ = asyncio.run(measured(gaps))
    assert came[-1] - began_s >= sum(gaps)


@pytest.mark.integration
def test_an_engine_that_is_gone_is_asked_again_and_nothing_is_reported() -> None:
    reports: list[float] = []
    clock = SystemClock()
    trips = RoundTrips(
        "http://127.0.0.1:1/health",
        bind_ip="127.0.0.1",
        gaps=[0.0] * 3,
        timeout_s=10.0,
        clock=clock,
        report=reports.append,
    )
    asyncio.run(trips.run())
    assert reports == []
