"""More load for a while: a second open loop beside the first, which ends by itself.

A surge is asked for over HTTP and carries its own end, so that nobody has to be alive to take it back:

    PUT /surge {"run", "rate", "prefix_share", "for_s"}   begins one; 409 while one is under way
    GET /surge                                              the one under way, 404 when there is none
    DELETE /surge                                           ends it; also when there is none
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from http import HTTPStatus

import msgspec
from aiohttp import web

from resync.kits.clocks import Clock
from resync.load.client import Client
from resync.load.driving import Driver
from resync.load.metrics import LoadMetrics
from resync.load.options import Options
from resync.load.plans import Planned, planned

PATH = "/surge"
FOR_S_MAX = 3600.0
RATE_MAX = 10_000.0

log = logging.getLogger(__name__)


class Asked(msgspec.Struct, frozen=True):
    """What a surge adds: requests a second, and for how long. `run` is whoever asked."""

    run: str
    rate: float
    prefix_share: float
    for_s: float

    def __post_init__(self) -> None:
        """Refuse what is no load."""
        if not 0 < self.rate <= RATE_MAX:
            raise ValueError(f"rate: {self.rate:g} is not above 0 and at most {RATE_MAX:g}")
        if not 0 < self.for_s <= FOR_S_MAX:
            raise ValueError(f"for_s: {self.for_s:g} is not above 0 and at most {FOR_S_MAX:g}")
        if not 0 <= self.prefix_share <= 1:
            raise ValueError(f"prefix_share: {self.prefix_share:g} is not between 0 and 1")


class Standing(msgspec.Struct, frozen=True):
    """The surge under way: when it began and ends by itself, seconds since the epoch."""

    asked: Asked
    began_s: float
    ends_s: float


class Surges:
    """At most one surge at a time."""

    def __init__(self, options: Options, client: Client, metrics: LoadMetrics, *, clock: Clock) -> None:
        self._options = options
        self._client = client
        self._metrics = metrics
        self._clock = clock
        self._standing: Standing | None = None
        self._task: asyncio.Task[None] | None = None

    def routes(self) -> list[web.RouteDef]:
        """The handlers."""
        return [web.put(PATH, self._put), web.get(PATH, self._get), web.delete(PATH, self._delete)]

    async def stop(self) -> None:
        """End the surge, if one is under way."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _put(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=Asked)
        except (msgspec.MsgspecError, ValueError) as error:
            return _answer(HTTPStatus.BAD_REQUEST, {"error": f"not a surge: {error}"})
        if self._standing is not None:
            sentence = f"the surge of run {self._standing.asked.run} is under way: nothing was begun"
            return _answer(HTTPStatus.CONFLICT, {"error": sentence})
        now_s = self._clock.wall_s()
        self._standing = Standing(asked, now_s, now_s + asked.for_s)
        self._task = asyncio.create_task(self._drive(asked), name="surge")
        return _answer(HTTPStatus.CREATED, self._standing)

    async def _get(self, _request: web.Request) -> web.Response:
        if self._standing is None:
            return _answer(HTTPStatus.NOT_FOUND, {"error": "no surge is under way"})
        return _answer(HTTPStatus.OK, self._standing)

    async def _delete(self, _request: web.Request) -> web.Response:
        await self.stop()
        return _answer(HTTPStatus.OK, {"status": "no surge is under way"})

    async def _drive(self, asked: Asked) -> None:
        options = dataclasses.replace(
            self._options,
            rate=asked.rate,
            prefix_share=asked.prefix_share,
            seed=self._options.seed + 1,
        )
        log.info("a surge of %g requests a second for %g s, for run %s", asked.rate, asked.for_s, asked.run)
        self._metrics.asked_rate.set(self._options.rate + asked.rate)
        try:
            # Cut by the clock too: the last answers of an overloaded system may be long in coming.
            async with asyncio.timeout(asked.for_s):
                driver = Driver(options, self._client, self._metrics, clock=self._clock)
                await driver.run(until(planned(options), asked.for_s))
        except TimeoutError:
            log.info("the surge was over before its last answers were in")
        finally:
            self._metrics.asked_rate.set(self._options.rate)
            self._standing = None
            log.info("the surge is over")


def until(requests: Iterator[Planned], end_s: float) -> Iterator[Planned]:
    """Those that are due before `end_s`."""
    for request in requests:
        if request.due_s >= end_s:
            return
        yield request


def _answer(status: HTTPStatus, body: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status.value, content_type="application/json")
