"""The shells on real sockets: what is published arrives, once and in order, whatever the connection does."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Self

import pytest
import zmq

from resync.kits.waits import wait_until_async
from resync.kvsync import wire
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import AllBlocksCleared, Batch, BlockStored
from resync.kvsync.subscriber import State, Statistics, SubscriberSettings
from resync.transport.errors import AlreadyRunningError, NotBoundError
from resync.transport.publication import Publication
from resync.transport.subscription import Source, Subscription, TransportSettings

pytestmark = pytest.mark.integration


class Relay:
    """A TCP relay that can cut a connection, or keep it open and pass nothing on."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.swallow = False
        self.port = 0
        self.callers: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
    """What a test of the shells needs in one hand."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self.context = context
        self.recorder = Recorder()
        self._life = 0

    async def successor(self, old: Publication) -> Publication:
        """The next life on the same ports, as soon as ZeroMQ has let go of them."""

        async def bound() -> Publication | None:
            try:
                return self.engine(old.event_port, old.replay_port)
            except zmq.ZMQError:
                return None

        new = await wait_until_async(bound, what="the ports to be free", timeout_s=5, every_s=0.01)
        assert new is not None
        return new

    def engine(
        self, event_port: int = 0, replay_port: int | None = 0, *, buffer_steps: int = 10_000
    ) -> Publication:
        """A bound publisher, a new life each time."""
        self._life += 1
        publication = Publication(Publisher(buffer_steps=buffer_steps), context=self.context)
        publication.bind("127.0.0.1", event_port, replay_port)
        return publication

    def publish(self, engine: Publication, count: int = 1) -> None:
        for _ in range(count):
            engine.publish(Batch(float(self._life), (BlockStored((self._life,), None, (1, 2), 2),)))

    def source(self, engine: Publication) -> Source:
        return Source("default/engine-0", "127.0.0.1", engine.event_port, engine.replay_port or 1)

    @asynccontextmanager
    async def following(
        self, source: Source, settings: TransportSettings | None = None
    ) -> AsyncIterator[Subscription]:
        subscription = Subscription(
            source, self.recorder, settings or TransportSettings(reconnect_min_ms=20), context=self.context
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

        async def seen() -> Statistics | None:
            now = subscription.statistics()
            return now if all(getattr(now, name) == value for name, value in wanted.items()) else None

        try:
            return (
                await wait_until_async(seen, what=what, timeout_s=15, every_s=0.01)
                or subscription.statistics()
            )
        except TimeoutError as late:
            raise AssertionError(f"{what}: {subscription.statistics()}") from late


@pytest.fixture
def stand() -> Iterator[Stand]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield Stand(context)
    context.destroy(linger=0)


async def test_what_was_published_before_and_after_the_connect_arrives_once_in_order(stand: Stand) -> None:
    with stand.engine() as engine:
        stand.publish(engine, 5)
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "the past to be replayed", applied_seq=4, exact=True)
            stand.publish(engine, 5)
            await stand.until(subscription, "the present to arrive", applied_seq=9)
        assert stand.recorder.applied == [(seq, seq > 4) for seq in range(10)]


async def test_an_engine_that_has_published_nothing_is_exact_at_once(stand: Stand) -> None:
    with stand.engine() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "an empty replay", state=State.LIVE, exact=True, applied_seq=-1)
        assert engine.replay_requests >= 1


async def test_a_gap_is_replayed(stand: Stand) -> None:
    with stand.engine() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            stand.publish(engine)
            await stand.until(subscription, "the first batch", applied_seq=0, exact=True)
            lost = Batch(1.0, (AllBlocksCleared(),))
            engine.publisher.publish(lost)  # numbered and kept, never sent: as a full pipe would lose it
            stand.publish(engine)
            after = await stand.until(subscription, "the gap to be closed", applied_seq=2, exact=True)
    assert stand.recorder.seqs == [0, 1, 2]
    assert (after.gaps, after.missed, after.gaps_repaired) == (1, 1, 1)


async def test_a_restart_in_place_is_noticed_and_nothing_of_the_old_life_is_kept(stand: Stand) -> None:
    with stand.engine() as old:
        async with stand.following(stand.source(old)) as subscription:
            stand.publish(old, 3)
            await stand.until(subscription, "the old life", applied_seq=2, exact=True)
            old.close()
            with await stand.successor(old) as new:
                stand.publish(new, 6)  # already past the old number when the connection comes back
                after = await stand.until(subscription, "the new life", applied_seq=5, exact=True)
            assert after.restarts == 1
            assert stand.recorder.purges
            assert stand.recorder.seqs == [0, 1, 2, 3, 4, 5]
            assert subscription.connections().disconnects >= 1


async def test_a_lost_connection_is_made_again_and_the_rest_replayed(stand: Stand) -> None:
    with stand.engine() as engine:
        async with Relay(engine.event_port) as relay:
            source = stand.source(engine)
            through = type(source)(source.pod_key, source.host, relay.port, source.replay_port)
            async with stand.following(through) as subscription:
                stand.publish(engine, 2)
                await stand.until(subscription, "two batches", applied_seq=1, exact=True)
                relay.cut()
                await wait_until_async(
                    _async(lambda: subscription.connections().disconnects), what="the cut", timeout_s=5
                )
                stand.publish(engine, 3)
                after = await stand.until(
                    subscription, "the connection to be back", applied_seq=4, exact=True
                )
                assert (after.restarts, stand.recorder.purges) == (0, [])
                assert subscription.connections().connects == 2
        assert stand.recorder.seqs == [0, 1, 2, 3, 4]


async def test_a_half_open_connection_is_found_by_heartbeats(stand: Stand) -> None:
    settings = TransportSettings(heartbeat_interval_ms=100, heartbeat_timeout_ms=300, reconnect_min_ms=20)
    with stand.engine() as engine:
        async with Relay(engine.event_port) as relay:
            source = stand.source(engine)
            through = type(source)(source.pod_key, source.host, relay.port, source.replay_port)
            async with stand.following(through, settings) as subscription:
                stand.publish(engine)
                await stand.until(subscription, "one batch", applied_seq=0, exact=True)
                relay.swallow = True  # both ends stay open, nothing passes, nobody says so
                stand.publish(engine, 2)
                await stand.until(subscription, "the silence to be noticed", state=State.CONNECTING)
                relay.swallow = False
                await stand.until(subscription, "what was swallowed", applied_seq=2, exact=True)


async def test_a_replay_that_has_lost_its_beginning_degrades_visibly(stand: Stand) -> None:
    with stand.engine(buffer_steps=4) as engine:
        stand.publish(engine, 10)
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(
                subscription, "the rest of the ring", applied_seq=9, exact=False, state=State.LIVE
            )
            assert stand.recorder.seqs == [6, 7, 8, 9]
            assert "no longer in the publisher's ring" in stand.recorder.degraded[-1]
            engine.publish(Batch(1.0, (AllBlocksCleared(),)))
            await stand.until(subscription, "a clear to make it exact", applied_seq=10, exact=True)


async def test_a_publisher_without_replay_is_followed_and_called_degraded(stand: Stand) -> None:
    settings = TransportSettings(replay_timeout_ms=100, subscriber=SubscriberSettings(tries_limit=2))
    with stand.engine(replay_port=None) as engine:
        stand.publish(engine, 2)
        async with stand.following(stand.source(engine), settings) as subscription:
            after = await stand.until(subscription, "giving up", state=State.LIVE, exact=False)
            assert after.replays_failed == 2
            assert "no answer" in (after.degraded_reason or "")


async def test_a_full_ring_arrives_complete(stand: Stand) -> None:
    with stand.engine() as engine:
        stand.publish(engine, 10_000)
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "10,000 batches", applied_seq=9_999, exact=True)
        assert stand.recorder.seqs == list(range(10_000))


async def test_a_message_with_wrong_frames_is_counted_and_does_not_stop_the_stream(stand: Stand) -> None:
    with stand.engine() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "the connection", state=State.LIVE)
            live: Any = engine._live
            live.send_multipart([b"two", b"frames"])
            live.send_multipart([b"", b"short", b"payload"])
            stand.publish(engine)
            await stand.until(subscription, "the batch behind them", applied_seq=0, exact=True)
            assert subscription.connections().frame_errors == 2


async def test_a_poison_payload_is_passed_over_and_takes_the_exactness(stand: Stand) -> None:
    with stand.engine() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "the connection", state=State.LIVE, exact=True)
            live: Any = engine._live
            live.send_multipart([b"", (0).to_bytes(8, "big"), b"\xc1"])
            after = await stand.until(subscription, "the number to be used up", applied_seq=0)
            assert (after.decode_errors, after.exact) == (1, False)


async def test_stopping_leaves_no_socket_reader_or_task(stand: Stand) -> None:
    with stand.engine() as engine:
        stand.publish(engine)
        before = asyncio.all_tasks()
        loop: Any = asyncio.get_running_loop()
        readers = len(loop._selector.get_map())
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "one batch", applied_seq=0, exact=True)
            assert len(loop._selector.get_map()) > readers
        assert asyncio.all_tasks() == before
        assert len(loop._selector.get_map()) == readers
        assert (subscription._live, subscription._replay, subscription._alarm) == (None, None, None)
        assert subscription.connections().connected is False
    assert all(socket is None or socket.closed for socket in (engine._live, engine._replays))


async def test_starting_twice_is_refused_and_changes_nothing(stand: Stand) -> None:
    with stand.engine() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "the connection", state=State.LIVE)
            with pytest.raises(AlreadyRunningError, match=r"default/engine-0 runs already"):
                await subscription.run()
            stand.publish(engine)
            await stand.until(subscription, "one batch, once", applied_seq=0)
        assert stand.recorder.seqs == [0]
        assert subscription.connections().connects == 1


async def test_what_the_handler_raises_ends_the_run_and_closes_everything(stand: Stand) -> None:
    class Broken(type(stand.recorder)):  # type: ignore[misc]
        def apply(self, seq: int, batch: Batch, live: bool) -> None:  # noqa: ARG002, FBT001
            raise LookupError(f"no place for {seq}")

    with stand.engine() as engine:
        stand.publish(engine)
        subscription = Subscription(stand.source(engine), Broken(), context=stand.context)
        with pytest.raises(LookupError, match="no place for 0"):
            await asyncio.wait_for(subscription.run(), 10)
        assert subscription._live is None


async def test_a_local_address_is_where_the_connection_comes_from(stand: Stand) -> None:
    with stand.engine() as engine:
        async with Relay(engine.event_port) as relay:
            source = stand.source(engine)
            through = type(source)(source.pod_key, source.host, relay.port, source.replay_port)
            settings = TransportSettings(local_address="127.0.9.1")
            async with stand.following(through, settings) as subscription:
                await stand.until(subscription, "the connection", state=State.LIVE)
            assert relay.callers == ["127.0.9.1"]


async def test_publishing_without_sockets_is_refused() -> None:
    with pytest.raises(NotBoundError):
        Publication(Publisher()).publish(Batch(1.0, ()))


async def test_a_taken_port_is_an_error_that_leaves_nothing_open(stand: Stand) -> None:
    with stand.engine() as engine:
        second = Publication(Publisher(), context=stand.context)
        with pytest.raises(zmq.ZMQError, match="in use"):
            second.bind("127.0.0.1", 0, engine.replay_port)
        assert second._live is None


@pytest.mark.parametrize("topic_frame", [True, False])
async def test_the_replay_port_answers_dealer_and_req_as_the_engine_does(
    stand: Stand,
    topic_frame: bool,  # noqa: FBT001
) -> None:
    engine = Publication(Publisher(topic=b"t"), context=stand.context, topic_frame=topic_frame)
    with engine, ExitStack() as stack:
        engine.bind("127.0.0.1", 0, 0)
        stand.publish(engine, 2)
        dealer, req = (stack.enter_context(stand.context.socket(kind)) for kind in (zmq.DEALER, zmq.REQ))
        for socket in (dealer, req):
            socket.connect(f"tcp://127.0.0.1:{engine.replay_port}")
        dealer.send_multipart([b"\0" * 8])  # without the delimiter: no answer at all
        dealer.send_multipart(wire.replay_request(1))
        req.send_multipart([b"\0" * 8])

        first, end = await received(dealer), await received(dealer)
        assert len(first) == (4 if topic_frame else 3)
        assert (first[-2], end) == ((1).to_bytes(8, "big"), wire.end_frames(topic_frame=topic_frame))
        assert (await received(req))[-2] == b"\0" * 8
        assert engine.refused_requests == 1
        assert not dealer.poll(0)


async def received(socket: Any) -> list[bytes]:
    async def ready() -> bool:
        return bool(socket.poll(0))

    await wait_until_async(ready, what="an answer", timeout_s=5, every_s=0.005)
    return list(socket.recv_multipart())


def _async(read: Any) -> Any:
    async def now() -> Any:
        return read()

    return now
