"""Coroutine tests run to their end in a loop of their own; what follows an engine, and what cuts it off."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest
import zmq

from resync.kits.waits import wait_until_async
from resync.kvsync.records import Batch, BlockStored
from resync.kvsync.subscriber import State, Statistics
from resync.testing import Publisher
from resync.transport.subscription import Source, Subscription, TransportSettings


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test with the fixtures that it names."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


class Relay:
    """A TCP relay that can cut a connection, keep it open and pass nothing on, or refuse to be there."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.swallow = False
        self.port = 0
        self.callers: list[str] = []

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.callers.append(writer.get_extra_info("peername")[0])
        there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers += [writer, back]
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.get_running_loop().create_task(self._pass(source, sink))
            self._tasks.add(task)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                if not self.swallow:
                    sink.write(data)
        except ConnectionError:
            pass
        sink.close()


class Recorder:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.applied: list[tuple[int, bool]] = []
        self.purges: list[str] = []
        self.degraded: list[str] = []
        self.changes: list[Statistics] = []

    @property
    def seqs(self) -> list[int]:
        return [seq for seq, _live in self.applied]

    def apply(self, seq: int, batch: Batch, live: bool) -> None:  # noqa: FBT001 - the protocol's shape
        assert batch.events
        self.applied.append((seq, live))

    def purge(self, reason: str) -> None:
        self.purges.append(reason)
        self.applied.clear()

    def degrade(self, reason: str) -> None:
        self.degraded.append(reason)

    def state_changed(self, statistics: Statistics) -> None:
        self.changes.append(statistics)


class Stand:
    """What a test of the subscription needs in one hand."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self.context = context
        self.recorder = Recorder()

    def publish(self, engine: Publisher, count: int = 1) -> None:
        for _ in range(count):
            engine.publish(BlockStored((engine.published_seq + 1,), None, (1, 2), 2))

    def successor(self, old: Publisher) -> Publisher:
        """The next life on the same ports."""
        old.close()
        return Publisher(host=old.host, event_port=old.event_port, replay_port=old.replay_port)

    def source(self, engine: Publisher, through: Relay | None = None) -> Source:
        event_port = engine.event_port if through is None else through.port
        return Source("default/engine-0", engine.host, event_port, engine.replay_port or 1)

    @asynccontextmanager
    async def following(
        self, source: Source, settings: TransportSettings | None = None, recorder: Recorder | None = None
    ) -> AsyncIterator[Subscription]:
        subscription = Subscription(
            source,
            recorder or self.recorder,
            settings or TransportSettings(reconnect_min_ms=20),
            context=self.context,
        )
        task = asyncio.get_running_loop().create_task(subscription.run())
        try:
            yield subscription
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=5)
            if not task.cancelled():
                task.result()

    async def until(self, subscription: Subscription, what: str, **wanted: object) -> Statistics:
        """Wait until the statistics have these values."""

        def seen() -> Statistics | None:
            now = subscription.statistics()
            return now if all(getattr(now, name) == value for name, value in wanted.items()) else None

        try:
            statistics: Statistics = await self.until_true(what, seen)
        except TimeoutError as late:
            raise AssertionError(f"{what}: {subscription.statistics()}") from late
        return statistics

    async def live(self, subscription: Subscription, engine: Publisher) -> None:
        """Wait until it is exact and would hear what is published from now on."""
        await self.until(subscription, "the connection", state=State.LIVE, exact=True)
        await self.until_true("the subscription to be in effect", lambda: engine.subscribers)

    async def until_true(self, what: str, seen: Callable[[], Any]) -> Any:
        async def now() -> Any:
            return seen()

        return await wait_until_async(now, what=what, timeout_s=15, every_s=0.005)


@pytest.fixture
def stand() -> Iterator[Stand]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield Stand(context)
    context.destroy(linger=0)


@pytest.fixture
def make_relay() -> type[Relay]:
    """Relays, for tests that have to cut a connection."""
    return Relay
