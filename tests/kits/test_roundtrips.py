"""Round trips: at moments in step with nothing, over one connection, and which of them hold two."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterable

import pytest
from aiohttp import web

from resync.kits.clocks import SystemClock
from resync.kits.roundtrips import RoundTrips, Trip, uneven_gaps_s

EVERY_S = 0.25
TENTHS = 10
MANY = 4_000


@pytest.mark.unit
@pytest.mark.parametrize("other_s", [0.25, 0.23, 0.125, 0.05])
@pytest.mark.parametrize("every_s", [0.25, 0.15])
@pytest.mark.parametrize("seed", range(5))
def test_they_meet_every_phase_of_something_periodic_equally_often(
    other_s: float, every_s: float, seed: int
) -> None:
    """With one fixed period they would meet one phase for as long as the clocks agree, or a few for ever."""
    gaps = itertools.islice(uneven_gaps_s(every_s, dice=random.Random(seed)), MANY)
    met = Counter(int(at_s % other_s / other_s * TENTHS) for at_s in itertools.accumulate(gaps))
    assert set(met) == set(range(TENTHS))
    assert all(many == pytest.approx(MANY / TENTHS, rel=0.25) for many in met.values()), met


@pytest.mark.unit
def test_they_are_as_many_as_the_period_says() -> None:
    gaps = list(itertools.islice(uneven_gaps_s(EVERY_S, dice=random.Random(0)), MANY))
    assert sum(gaps) / MANY == pytest.approx(EVERY_S, rel=0.02)
    assert min(gaps) >= EVERY_S / 2
    assert max(gaps) <= EVERY_S * 3 / 2


def trips_to(
    url: str, gaps_s: Iterable[float], trips: list[Trip | None], *, timeout_s: float = 10.0
) -> RoundTrips:
    return RoundTrips(
        url,
        bind_ip="127.0.0.1",
        gaps_s=gaps_s,
        timeout_s=timeout_s,
        clock=SystemClock(),
        report=trips.append,
    )


async def measured(
    gaps_s: list[float],
    *,
    takes_s: float = 0.0,
    status: int = 200,
    hang_up: bool = False,
    timeout_s: float = 10.0,
) -> tuple[list[Trip | None], list[float], int]:
    """What was reported, when each request came (seconds), and over how many connections."""
    came: list[float] = []
    peers = set()
    trips: list[Trip | None] = []
    clock = SystemClock()

    async def health(request: web.Request) -> web.Response:
        assert request.transport is not None
        came.append(clock.monotonic_s())
        peers.add(request.transport.get_extra_info("peername"))
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(takes_s, over.set)
        await over.wait()
        answer = web.Response(status=status)
        if hang_up:
            answer.force_close()
        return answer

    application = web.Application()
    application.router.add_get("/health", health)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/health"
        await trips_to(url, gaps_s, trips, timeout_s=timeout_s).run()
    finally:
        await runner.cleanup()
    return trips, came, len(peers)


@pytest.mark.integration
def test_one_connection_is_kept_and_only_the_first_trip_made_it() -> None:
    trips, came, connections = asyncio.run(measured([0.0] * 6))
    assert (len(came), connections) == (6, 1)
    assert [trip.connected for trip in trips if trip] == [True, *[False] * 5]


@pytest.mark.integration
def test_a_trip_for_which_a_connection_was_made_is_not_pure() -> None:
    trips, came, _ = asyncio.run(measured([0.0] * 3, hang_up=True))
    assert len(came) == 3
    assert [trip.pure_s for trip in trips if trip] == [None] * 3


@pytest.mark.integration
def test_a_trip_says_what_was_answered_and_how_long_it_took() -> None:
    """However the machine is: it cannot be over before the answer was let go."""
    trips, _, _ = asyncio.run(measured([0.0] * 2, takes_s=0.05, status=503))
    assert [(trip.status, trip.took_s >= 0.05) for trip in trips if trip] == [(503, True)] * 2
    assert trips[1] is not None
    assert trips[1].pure_s == trips[1].took_s


@pytest.mark.integration
def test_the_gaps_are_kept_from_one_request_to_the_next() -> None:
    """The last request comes all gaps after the first was sent, whatever the machine does meanwhile."""
    gaps = [0.0, 0.05, 0.2, 0.0]
    began_s = SystemClock().monotonic_s()
    _, came, _ = asyncio.run(measured(gaps))
    assert came[-1] - began_s >= sum(gaps)


@pytest.mark.integration
def test_where_nobody_listens_is_asked_again_and_each_time_is_reported() -> None:
    trips: list[Trip | None] = []
    gaps_s = iter([0.0] * 3)
    asyncio.run(trips_to("http://127.0.0.1:1/health", gaps_s, trips).run())
    assert (trips, list(gaps_s)) == ([None] * 3, [])


@pytest.mark.integration
def test_no_answer_in_time_is_no_answer() -> None:
    trips, came, _ = asyncio.run(measured([0.0] * 2, takes_s=30.0, timeout_s=0.1))
    assert (trips, len(came)) == ([None] * 2, 2)
