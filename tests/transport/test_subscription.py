"""The subscription on real sockets: what is published arrives, once and in order, whatever happens."""

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from resync.kvsync.records import AllBlocksCleared, Batch, BlockRemoved, BlockStored
from resync.kvsync.subscriber import State, SubscriberSettings
from resync.testing import Publisher, answers
from resync.transport.errors import AlreadyRunningError
from resync.transport.subscription import Source, Subscription, TransportSettings

if TYPE_CHECKING:
    from tests.transport.conftest import Stand
else:
    Stand = Any

pytestmark = pytest.mark.integration

CLEARED = AllBlocksCleared()


# --- connecting


@pytest.mark.scenario("event-flow/connected-while-connecting", "event-flow/live-next-while-live")
async def test_what_was_published_before_and_after_the_connect_arrives_once_in_order(stand: Stand) -> None:
    with Publisher() as engine:
        stand.publish(engine, 5)
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "the past to be replayed", applied_seq=4, exact=True)
            await stand.until_true("the subscription", lambda: engine.subscribers)
            stand.publish(engine, 5)
            await stand.until(subscription, "the present to arrive", applied_seq=9)
        assert stand.recorder.applied == [(seq, seq > 4) for seq in range(10)]


async def test_an_engine_that_has_published_nothing_is_exact_at_once(stand: Stand) -> None:
    with Publisher() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "an empty replay", state=State.LIVE, exact=True, applied_seq=-1)
        assert engine.asked


@pytest.mark.scenario("event-flow/connect-twice")
async def test_connecting_twice_makes_one_connection(stand: Stand) -> None:
    with Publisher() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            subscription.connect()
            await stand.live(subscription, engine)
            subscription.connect()
            stand.publish(engine)
            await stand.until(subscription, "one batch, once", applied_seq=0)
            assert engine.subscribers == 1
        assert stand.recorder.seqs == [0]
        assert subscription.connections().connects == 1


async def test_connecting_before_running_makes_one_connection_and_closing_twice_is_no_error(
    stand: Stand,
) -> None:
    with Publisher() as engine:
        subscription = Subscription(stand.source(engine), stand.recorder, context=stand.context)
        subscription.connect()
        subscription.connect()
        await stand.until_true("the subscription", lambda: engine.subscribers)
        assert engine.subscribers == 1
        subscription.close()
        subscription.close()
        await stand.until_true("its end", lambda: not engine.subscribers)


async def test_running_twice_is_refused_and_changes_nothing(stand: Stand) -> None:
    with Publisher() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            await stand.live(subscription, engine)
            with pytest.raises(AlreadyRunningError, match=r"default/engine-0 runs already"):
                await subscription.run()
            stand.publish(engine)
            await stand.until(subscription, "one batch, once", applied_seq=0)
        assert stand.recorder.seqs == [0]
        assert subscription.connections().connects == 1


async def test_an_address_that_cannot_be_used_is_an_error_that_leaves_nothing_open(stand: Stand) -> None:
    loop: Any = asyncio.get_running_loop()
    readers = len(loop._selector.get_map())
    subscription = Subscription(
        Source("default/nowhere", "not a host", 1, 1), stand.recorder, context=stand.context
    )
    with pytest.raises(zmq.ZMQError):
        await subscription.run()
    assert len(loop._selector.get_map()) == readers


async def test_ipv6_is_followed_too(stand: Stand) -> None:
    if not has_ipv6_loopback():
        pytest.skip("this machine has no ::1 to listen on")
    with Publisher(host="::1") as engine:
        stand.publish(engine, 2)
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "the replay", applied_seq=1, exact=True)
            stand.publish(engine)
            await stand.until(subscription, "a live batch", applied_seq=2, exact=True)


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_a_local_address_is_where_the_connection_comes_from(stand: Stand, make_relay: Any) -> None:
    with Publisher() as engine:
        async with make_relay(engine.event_port) as relay:
            settings = TransportSettings(local_address="127.0.9.1")
            async with stand.following(stand.source(engine, relay), settings) as subscription:
                await stand.live(subscription, engine)
            assert relay.callers == ["127.0.9.1"]


# --- processing


@pytest.mark.scenario("event-flow/event-processing")
async def test_what_is_stored_and_removed_is_handed_on_as_it_was_published(stand: Stand) -> None:
    heard: list[Batch] = []

    class Handler(type(stand.recorder)):  # type: ignore[misc]
        def apply(self, seq: int, batch: Batch, live: bool) -> None:  # noqa: FBT001
            super().apply(seq, batch, live)
            heard.append(batch)

    stored = BlockStored((1234, 5678), 9999, (1, 2, 3, 4, 5, 6), 3)
    removed = BlockRemoved((1234,))
    with Publisher(topic=b"kv@engine-0@llama2-7b") as engine:
        async with stand.following(stand.source(engine), recorder=Handler()) as subscription:
            await stand.live(subscription, engine)
            engine.publish(stored, removed, ts=12.5)
            await stand.until(subscription, "the batch", applied_seq=0)
    assert [(batch.ts, batch.events) for batch in heard] == [(12.5, (stored, removed))]


@pytest.mark.scenario("errors/live-ahead-while-live")
async def test_a_gap_is_replayed(stand: Stand) -> None:
    with Publisher() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            stand.publish(engine)
            await stand.until(subscription, "the first batch", applied_seq=0, exact=True)
            await stand.live(subscription, engine)
            engine.lose(CLEARED)
            stand.publish(engine)
            after = await stand.until(subscription, "the gap to be closed", applied_seq=2, exact=True)
    assert stand.recorder.seqs == [0, 1, 2]
    assert (after.gaps, after.missed, after.gaps_repaired) == (1, 1, 1)


@pytest.mark.scenario("errors/tail-overdue-while-live")
async def test_a_lost_tail_is_found_by_the_number_that_the_engine_is_at(stand: Stand) -> None:
    settings = TransportSettings(subscriber=SubscriberSettings(tail_patience_s=0.05))
    with Publisher() as engine:
        async with stand.following(stand.source(engine), settings) as subscription:
            stand.publish(engine)
            await stand.until(subscription, "the first batch", applied_seq=0, exact=True)
            await stand.live(subscription, engine)
            engine.lose(CLEARED)
            engine.lose(CLEARED)
            subscription.heard_published(engine.published_seq)
            after = await stand.until(subscription, "the tail", applied_seq=2, exact=True)
    assert stand.recorder.seqs == [0, 1, 2]
    assert (after.gaps, after.missed, after.gaps_repaired, stand.recorder.purges) == (1, 2, 1, [])


@pytest.mark.scenario("errors/live-known-while-live")
async def test_repeats_and_late_batches_are_applied_once_in_order(stand: Stand) -> None:
    with Publisher() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            await stand.live(subscription, engine)
            late, first, second = engine.lose(CLEARED), engine.lose(CLEARED), engine.lose(CLEARED)
            for message in (first, second, first, late):
                engine.send(message)
            after = await stand.until(subscription, "all of it", applied_seq=2, exact=True)
            engine.send(second)
            await stand.until_true("a repeat", lambda: subscription.statistics().duplicates)
    assert stand.recorder.seqs == [0, 1, 2]
    assert after.restarts == 0


async def test_a_full_ring_arrives_complete(stand: Stand) -> None:
    with Publisher() as engine:
        for _ in range(10_000):
            engine.lose(CLEARED)
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "10,000 batches", applied_seq=9_999, exact=True)
        assert stand.recorder.seqs == list(range(10_000))


@pytest.mark.scenario("errors/wrong-frames")
async def test_frames_that_are_no_batch_are_counted_and_do_not_stop_the_stream(stand: Stand) -> None:
    with Publisher() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            await stand.live(subscription, engine)
            engine.send([b"two", b"frames"])
            engine.send([b"", b"short", b"payload"])
            stand.publish(engine)
            await stand.until(subscription, "the batch behind them", applied_seq=0, exact=True)
            assert subscription.connections().frame_errors == 2


@pytest.mark.scenario("errors/unreadable-batch")
async def test_a_payload_that_cannot_be_read_is_passed_over_and_takes_the_exactness(stand: Stand) -> None:
    with Publisher() as engine:
        async with stand.following(stand.source(engine)) as subscription:
            await stand.live(subscription, engine)
            engine.send([b"", (0).to_bytes(8, "big"), b"\xc1"])
            after = await stand.until(subscription, "the number to be used up", applied_seq=0)
            assert (after.decode_errors, after.exact) == (1, False)


# --- reconnecting


@pytest.mark.parametrize("salt", [0, 1], ids=["the-same-hashes", "other-hashes"])
@pytest.mark.scenario("errors/replay-restarted-while-awaiting")
async def test_a_restart_in_place_is_noticed_and_nothing_of_the_old_life_is_kept(
    stand: Stand, salt: int
) -> None:
    with Publisher() as old:
        async with stand.following(stand.source(old)) as subscription:
            stand.publish(old, 3)
            await stand.until(subscription, "the old life", applied_seq=2, exact=True)
            with stand.successor(old) as new:
                for seq in range(6):  # already past the old number when the connection comes back
                    new.publish(BlockStored((seq + salt * 100,), None, (1, 2), 2))
                after = await stand.until(subscription, "the new life", applied_seq=5, exact=True)
            assert after.restarts == 1
            assert stand.recorder.purges
            assert stand.recorder.seqs == [0, 1, 2, 3, 4, 5]
            assert subscription.connections().disconnects >= 1


@pytest.mark.scenario("errors/reconnection")
async def test_a_publisher_that_comes_back_is_followed_again(stand: Stand) -> None:
    with Publisher() as old:
        async with stand.following(stand.source(old)) as subscription:
            await stand.live(subscription, old)
            old.close()
            await stand.until(subscription, "its end to be noticed", state=State.CONNECTING)
            with stand.successor(old) as new:
                await stand.live(subscription, new)
                new.publish(BlockRemoved((1234,)))
                await stand.until(subscription, "a batch after it", applied_seq=0, exact=True)
                assert new.subscribers == 1


@pytest.mark.scenario("errors/disconnected-while-live")
async def test_a_lost_connection_is_made_again_and_the_rest_replayed(stand: Stand, make_relay: Any) -> None:
    with Publisher() as engine:
        async with (
            make_relay(engine.event_port) as relay,
            stand.following(stand.source(engine, relay)) as subscription,
        ):
            stand.publish(engine, 2)
            await stand.until(subscription, "two batches", applied_seq=1, exact=True)
            await stand.live(subscription, engine)
            relay.cut()
            await stand.until_true("the cut", lambda: subscription.connections().disconnects)
            stand.publish(engine, 3)
            after = await stand.until(subscription, "the connection", applied_seq=4, exact=True)
            assert (after.restarts, stand.recorder.purges) == (0, [])
            assert subscription.connections().connects == 2
        assert stand.recorder.seqs == [0, 1, 2, 3, 4]


async def test_an_engine_that_is_not_there_is_dialled_with_growing_pauses(
    stand: Stand, make_relay: Any
) -> None:
    settings = TransportSettings(reconnect_min_ms=5, reconnect_max_ms=40, reconnect_jitter=0.0)
    with Publisher() as engine:
        async with make_relay(engine.event_port) as relay:
            source = stand.source(engine, relay)
            relay.refuse()
            loop = asyncio.get_running_loop()
            async with stand.following(source, settings) as subscription:
                begun_s = loop.time()
                await stand.until_true(
                    "6 refusals", lambda: subscription.connections().reconnect_attempts >= 6
                )
                assert loop.time() - begun_s >= 0.155  # 5 + 10 + 20 + 40 + 40 + 40 ms
                assert (subscription.connections().connected, stand.recorder.purges) == (False, [])
                await relay.listen()
                await stand.until(subscription, "the connection", state=State.LIVE, exact=True)


@pytest.mark.scenario("errors/half-open-connection")
async def test_a_half_open_connection_is_found_by_heartbeats(stand: Stand, make_relay: Any) -> None:
    settings = TransportSettings(heartbeat_interval_ms=100, heartbeat_timeout_ms=300, reconnect_min_ms=20)
    with Publisher() as engine:
        async with (
            make_relay(engine.event_port) as relay,
            stand.following(stand.source(engine, relay), settings) as subscription,
        ):
            stand.publish(engine)
            await stand.until(subscription, "one batch", applied_seq=0, exact=True)
            await stand.live(subscription, engine)
            relay.swallow = True  # both ends stay open, nothing passes, nobody says so
            stand.publish(engine, 2)
            await stand.until(subscription, "the silence to be noticed", state=State.CONNECTING)
            relay.swallow = False
            await stand.until(subscription, "what was swallowed", applied_seq=2, exact=True)


async def test_whoever_accepts_and_says_nothing_is_hung_up_on(stand: Stand, make_relay: Any) -> None:
    settings = TransportSettings(handshake_timeout_ms=50, reconnect_min_ms=5)
    with Publisher() as engine:
        async with make_relay(engine.event_port) as relay:
            relay.swallow = True
            async with stand.following(stand.source(engine, relay), settings) as subscription:
                await stand.until_true("a second try", lambda: len(relay.callers) > 1)
                assert subscription.connections().connects == 0
                relay.swallow = False
                await stand.until(subscription, "the connection", state=State.LIVE, exact=True)
                assert subscription.connections().disconnects == 0


async def test_a_host_that_is_never_dialled_is_tried_again(stand: Stand) -> None:
    """ZeroMQ looks up names out of sight, and says nothing when there is none.

    No resolver can ask for a label of more than 63 letters, so nothing leaves the machine.
    """
    settings = TransportSettings(connect_timeout_ms=10, handshake_timeout_ms=10, reconnect_min_ms=5)
    source = Source("default/nowhere", "x" * 64, 1, 1)
    async with stand.following(source, settings) as subscription:
        await stand.until_true("another try", lambda: subscription.connections().reconnect_attempts > 1)
        assert subscription.statistics().state is State.CONNECTING


# --- the end


async def test_stopping_leaves_no_socket_reader_or_task(stand: Stand) -> None:
    with Publisher() as engine:
        stand.publish(engine)
        before = asyncio.all_tasks()
        loop: Any = asyncio.get_running_loop()
        readers = len(loop._selector.get_map())
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(subscription, "one batch", applied_seq=0, exact=True)
            await stand.live(subscription, engine)
            assert len(loop._selector.get_map()) > readers
        assert asyncio.all_tasks() == before
        assert len(loop._selector.get_map()) == readers
        assert (subscription._live, subscription._replay, subscription._alarm) == (None, None, None)
        assert subscription.connections().connected is False
        await stand.until_true("its subscription to end", lambda: not engine.subscribers)


async def test_what_the_handler_raises_ends_the_run_and_closes_everything(stand: Stand) -> None:
    class Broken(type(stand.recorder)):  # type: ignore[misc]
        def apply(self, seq: int, batch: Batch, live: bool) -> None:  # noqa: ARG002, FBT001
            raise LookupError(f"no place for {seq}")

    with Publisher() as engine:
        stand.publish(engine)
        subscription = Subscription(stand.source(engine), Broken(), context=stand.context)
        with pytest.raises(LookupError, match="no place for 0"):
            await asyncio.wait_for(subscription.run(), 10)
        assert subscription._live is None


# --- answers to replay requests


WHOLE = {
    "complete": answers.complete,
    "early-end": answers.early_end(after=2),
    "cut-short": answers.cut_short(after=1),
    "hole": answers.hole(at=1),
    "without-end": answers.without_end,
}


@pytest.mark.parametrize("topic_frame", [True, False], ids=["topic", "no-topic"])
@pytest.mark.parametrize("name", WHOLE)
async def test_a_gap_is_closed_in_the_end_however_the_first_answers_come(
    stand: Stand,
    name: str,
    topic_frame: bool,  # noqa: FBT001
) -> None:
    settings = TransportSettings(replay_idle_ms=200, subscriber=SubscriberSettings(tries_limit=10))
    with Publisher(topic=b"t", topic_frame=topic_frame) as engine:
        async with stand.following(stand.source(engine), settings) as subscription:
            stand.publish(engine)
            await stand.until(subscription, "the first batch", applied_seq=0, exact=True)
            await stand.live(subscription, engine)
            engine.answer_next(WHOLE[name], WHOLE[name])
            for _ in range(4):
                engine.lose(CLEARED)
            stand.publish(engine)
            after = await stand.until(subscription, "the gap to be closed", applied_seq=5, exact=True)
    assert stand.recorder.seqs == list(range(6))
    assert (stand.recorder.purges, after.gaps_repaired, after.degradations) == ([], 1, 0)


SPOILED = {
    "silence": (answers.silence, "no answer to 2 requests for batches from 1 on"),
    "truncated": (answers.truncated(by=3), "batches 1 to 2 are no longer in the publisher's ring"),
    "always-the-same-hole": (answers.hole(at=1), "batches 1 to 6 came incomplete 2 times"),
}


@pytest.mark.parametrize("name", SPOILED)
@pytest.mark.scenario("errors/answer-exhausted-while-awaiting")
async def test_what_stays_incomplete_is_given_up_and_said(stand: Stand, name: str) -> None:
    answer, reason = SPOILED[name]
    # Longer than a stall: only an answer that never comes may count as none.
    settings = TransportSettings(
        replay_idle_ms=1_500, replay_timeout_ms=1_500, subscriber=SubscriberSettings(tries_limit=2)
    )
    with Publisher() as engine:
        async with stand.following(stand.source(engine), settings) as subscription:
            engine.publish(BlockStored((1,), None, (1, 2), 2))
            await stand.until(subscription, "the first batch", applied_seq=0, exact=True)
            await stand.live(subscription, engine)
            engine.answer_next(answer, answer)
            for _ in range(5):
                engine.lose(BlockStored((2,), 1, (3, 4), 2))
            engine.publish(BlockStored((3,), 2, (5, 6), 2))
            after = await stand.until(subscription, "giving up", state=State.LIVE, exact=False)
            assert after.degraded_reason == reason
            assert stand.recorder.degraded == [reason]
            assert stand.recorder.purges == [reason]
            engine.publish(CLEARED)
            await stand.until(subscription, "a clear to make it exact", exact=True)


async def test_a_ring_that_has_lost_its_beginning_degrades_visibly(stand: Stand) -> None:
    with Publisher(buffer_steps=4) as engine:
        stand.publish(engine, 10)
        async with stand.following(stand.source(engine)) as subscription:
            await stand.until(
                subscription, "the rest of the ring", applied_seq=9, exact=False, state=State.LIVE
            )
            assert stand.recorder.seqs == [6, 7, 8, 9]
            assert "no longer in the publisher's ring" in stand.recorder.degraded[-1]
            engine.publish(CLEARED)
            await stand.until(subscription, "a clear to make it exact", applied_seq=10, exact=True)


@pytest.mark.scenario("errors/retry-due-while-live", "errors/retry-answered-while-live")
async def test_a_degraded_source_is_tried_again_and_rebuilt(stand: Stand) -> None:
    settings = TransportSettings(
        replay_timeout_ms=1_500, subscriber=SubscriberSettings(tries_limit=1, retry_min_s=0.05)
    )
    with Publisher() as engine:
        engine.answer_next(answers.silence, answers.silence)
        stand.publish(engine, 3)
        async with stand.following(stand.source(engine), settings) as subscription:
            after = await stand.until(subscription, "the retry", applied_seq=2, exact=True)
            assert (after.replays_failed, after.degradations, after.purges) == (2, 1, 2)
        assert stand.recorder.seqs == [0, 1, 2]


async def test_a_publisher_without_replay_is_followed_and_called_degraded(stand: Stand) -> None:
    settings = TransportSettings(replay_timeout_ms=100, subscriber=SubscriberSettings(tries_limit=2))
    with Publisher(replay_port=None) as engine:
        stand.publish(engine, 2)
        async with stand.following(stand.source(engine), settings) as subscription:
            after = await stand.until(subscription, "giving up", state=State.LIVE, exact=False)
            assert after.replays_failed == 2
            assert "no answer" in (after.degraded_reason or "")


class HungUpSocket(zmq.Socket[bytes]):
    """Whoever asks on it finds that its connection has ended."""

    def connect(self, addr: str) -> Any:
        connected = super().connect(addr)
        if self.type == zmq.DEALER:
            self.disconnect(addr)
        return connected


class HungUpContext(zmq.Context[HungUpSocket]):
    _socket_class = HungUpSocket


@pytest.mark.timeout(60)  # what this guards against is a call that never returns
@pytest.mark.parametrize(
    "contexts", [zmq.Context, HungUpContext], ids=["either-is-first", "it-hangs-up-first"]
)
async def test_a_replay_port_that_is_none_is_no_answer_and_holds_up_nothing(
    stand: Stand, contexts: Any
) -> None:
    """An event port hangs up on whoever asks there: before the question is sent, or behind it."""
    settings = TransportSettings(replay_timeout_ms=50, subscriber=SubscriberSettings(tries_limit=2))
    with contexts() as stand.context, Publisher(replay_port=None) as engine:
        source = Source("default/engine-0", engine.host, engine.event_port, engine.event_port)
        async with stand.following(source, settings) as subscription:
            after = await stand.until(subscription, "giving up", state=State.LIVE, exact=False)
            assert (after.replays_asked, after.replays_failed) == (2, 2)
            await stand.until_true("the subscription", lambda: engine.subscribers)
            engine.publish(CLEARED)
            await stand.until(subscription, "what is live to be applied", applied_seq=0)


@pytest.mark.scenario("errors/replay-port-closed")
async def test_a_replay_port_that_opens_late_is_waited_for(stand: Stand, make_relay: Any) -> None:
    with Publisher() as engine:
        stand.publish(engine)
        async with make_relay(engine.replay_port) as relay:
            relay.refuse()
            source = Source("default/engine-0", engine.host, engine.event_port, relay.port)
            async with stand.following(source, TransportSettings(reconnect_min_ms=5)) as subscription:
                await stand.until(subscription, "the first request", replays_asked=1)
                await relay.listen()
                after = await stand.until(subscription, "its answer", applied_seq=0, exact=True)
    assert after.replays_failed == 0


async def test_an_answer_that_is_no_batch_and_no_marker_is_counted(stand: Stand) -> None:
    settings = TransportSettings(replay_idle_ms=50)
    with stand.context.socket(zmq.ROUTER) as replays, Publisher(replay_port=None) as engine:
        port = replays.bind_to_random_port("tcp://127.0.0.1")
        source = Source("default/engine-0", "127.0.0.1", engine.event_port, port)
        async with stand.following(source, settings) as subscription:
            await stand.until_true("a request", lambda: replays.poll(0))
            identity, *_ = replays.recv_multipart()
            replays.send_multipart([identity, b"", b"short"])
            await stand.until_true("its refusal", lambda: subscription.connections().frame_errors)
