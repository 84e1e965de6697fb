"""Round trips: at moments in step with nothing, over one connection, and none that holds two."""

import asyncio
import itertools
import random
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from resync.kits.clocks import SystemClock
from resync.observer.roundtrips import RoundTrips, uneven_gaps_s

EVERY_S = 0.25
TENTHS = 10
MANY = 4_000
ENGINES = ("default/engine-0", "default/engine-1")


@pytest.mark.unit
@pytest.mark.parametrize("other_s", [0.25, 0.23, 0.125, 0.05])
@pytest.mark.parametrize("seed", range(5))
def test_they_meet_every_phase_of_something_periodic_equally_often(other_s: float, seed: int) -> None:
    """With one fixed period they would meet one phase for as long as the clocks agree, or a few for ever."""
    gaps = itertools.islice(uneven_gaps_s(EVERY_S, dice=random.Random(seed)), MANY)
    met = Counter(int(at_s % other_s / other_s * TENTHS) for at_s in itertools.accumulate(gaps))
    assert set(met) == set(range(TENTHS))
    assert all(many == pytest.approx(MANY / TENTHS, rel=0.25) for many in met.values()), met


@pytest.mark.unit
def test_they_are_as_many_as_the_period_says() -> None:
    gaps = list(itertools.islice(uneven_gaps_s(EVERY_S, dice=random.Random(0)), MANY))
    assert sum(gaps) / MANY == pytest.approx(EVERY_S, rel=0.02)
    assert min(gaps) >= EVERY_S / 2
    assert max(gaps) <= EVERY_S * 3 / 2


async def measured(gaps_s: list[float], *, hang_up: bool = False) -> tuple[list[float], list[float], int]:
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
            url, bind_ip="127.0.0.1", gaps_s=gaps_s, timeout_s=10.0, clock=clock, report=reports.append
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
    gaps_s = iter([0.0] * 3)
    trips = RoundTrips(
        "http://127.0.0.1:1/health",
        bind_ip="127.0.0.1",
        gaps_s=gaps_s,
        timeout_s=10.0,
        clock=SystemClock(),
        report=reports.append,
    )
    asyncio.run(trips.run())
    assert (reports, list(gaps_s)) == ([], [])


FAR_S = 0.05
"""From the period, or from another engine's request: well above what a machine that is not busy adds."""
TIMES = 3
"""So that one stall of a busy machine is not taken for chance."""


@pytest.mark.integration
def test_the_observer_asks_each_engine_at_uneven_moments_of_its_own(stage: Any, observer: Any) -> None:
    def gaps_s(pod_key: str) -> list[float]:
        asked_s: list[float] = list(stage.health_asked_s[pod_key])
        return [later - one for one, later in itertools.pairwise(asked_s)]

    def uneven(pod_key: str) -> bool:
        short = sum(gap_s < EVERY_S - FAR_S for gap_s in gaps_s(pod_key))
        long = sum(gap_s > EVERY_S + FAR_S for gap_s in gaps_s(pod_key))
        return min(short, long) >= TIMES

    def differ() -> bool:
        one_engine, other_engine = map(gaps_s, ENGINES)
        pairs = zip(one_engine, other_engine, strict=False)
        return sum(abs(one - other) > FAR_S for one, other in pairs) >= TIMES

    observer.wait_for(
        "uneven gaps of two engines",
        lambda _: all(map(uneven, ENGINES)) and differ(),
        timeout_s=30,
    )
