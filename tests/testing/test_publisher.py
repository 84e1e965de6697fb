"""The publisher for tests speaks as an engine does, to sockets that know nothing of it."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from resync.kits.clocks import ManualClock
from resync.kits.waits import wait_until
from resync.kvsync import wire
from resync.kvsync.records import AllBlocksCleared, BlockStored, KVEvent, Message, ReplayEnd
from resync.testing import Answer, Publisher, answers

pytestmark = pytest.mark.integration

CLEARED = AllBlocksCleared()


class Peer:
    """A SUB and a DEALER, as anybody's client has them."""

    def __init__(self, engine: Publisher) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = self._dial(zmq.DEALER, engine.host, engine.replay_port or 1)
        self._sub = self._dial(zmq.SUB, engine.host, engine.event_port)
        self._sub.setsockopt(zmq.SUBSCRIBE, b"")
        wait_until(lambda: engine.subscribers, what="the subscription", timeout_s=5, every_s=0.005)

    def _dial(self, kind: int, host: str, port: int) -> "zmq.Socket[bytes]":
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.setsockopt(zmq.RCVTIMEO, 5_000)
        socket.connect(f"tcp://{host}:{port}")
        return socket

    def heard(self) -> Message:
        return wire.parse_live(self._sub.recv_multipart())

    def ask(self, start_seq: int) -> None:
        self._dealer.send_multipart(wire.replay_request(start_seq))

    def answered(self, count: int) -> list[int | None]:
        """The numbers of the next messages of the answer; None is the end marker."""
        parsed = [wire.parse_replay(self._dealer.recv_multipart()) for _ in range(count)]
        return [None if isinstance(one, ReplayEnd) else one.seq for one in parsed]

    def silent(self) -> bool:
        return not self._dealer.poll(0)

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def engine() -> Iterator[Publisher]:
    with Publisher() as engine:
        yield engine


@pytest.fixture
def peer(engine: Publisher) -> Iterator[Peer]:
    peer = Peer(engine)
    yield peer
    peer.close()


def test_batches_are_numbered_from_0_and_decode_to_what_was_published(engine: Publisher, peer: Peer) -> None:
    stored = BlockStored((1,), None, (7, 8), 2)
    events: tuple[KVEvent, ...] = (stored, CLEARED)
    for seq, event in enumerate(events):
        sent = engine.publish(event, ts=12.5)
        heard = peer.heard()
        assert (heard, heard.seq, engine.published_seq) == (sent, seq, seq)
        batch = wire.decode_batch(heard.payload)
        assert (batch.ts, batch.events) == (12.5, (event,))


def test_the_time_of_a_batch_is_the_clock_s_where_none_is_given() -> None:
    with Publisher(clock=ManualClock(1234.5)) as engine:
        assert wire.decode_batch(engine.publish(CLEARED).payload).ts == 1234.5


def test_what_is_lost_is_numbered_and_replayed_but_not_sent(engine: Publisher, peer: Peer) -> None:
    engine.lose(CLEARED)
    engine.publish(CLEARED)
    assert peer.heard().seq == 1
    peer.ask(0)
    assert peer.answered(3) == [0, 1, None]


def test_a_message_can_be_sent_again_and_frames_can_be_wrong(engine: Publisher, peer: Peer) -> None:
    message = engine.publish(CLEARED)
    engine.send(message)
    engine.send([b"t", (7).to_bytes(8, "big"), b"payload"])
    assert [peer.heard() for _ in range(3)] == [message, message, Message(b"t", 7, b"payload")]


ANSWERS: dict[str, tuple[Answer, list[int | None]]] = {
    "complete": (answers.complete, [1, 2, 3, 4, None]),
    "silence": (answers.silence, []),
    "only-end": (answers.only_end, [None]),
    "without-end": (answers.without_end, [1, 2, 3, 4]),
    "early-end": (answers.early_end(after=1), [1, None, 2, 3, 4]),
    "cut-short": (answers.cut_short(after=2), [1, 2, None]),
    "cut-short-of-everything": (answers.cut_short(after=9), [1, 2, 3, 4, None]),
    "truncated": (answers.truncated(by=2), [3, 4, None]),
    "hole": (answers.hole(at=1), [1, 3, 4, None]),
    "wider-hole": (answers.hole(at=1, count=2), [1, 4, None]),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_next_request_is_answered_as_told_and_the_one_behind_it_rightly(
    engine: Publisher, peer: Peer, name: str
) -> None:
    answer, wanted = ANSWERS[name]
    for _ in range(5):
        engine.lose(CLEARED)
    engine.answer_next(answer)
    peer.ask(1)
    peer.ask(4)
    assert peer.answered(len(wanted) + 2) == [*wanted, 4, None]
    assert peer.silent()
    assert list(engine.asked) == [1, 4]


def test_the_constructor_says_how_all_other_requests_are_answered() -> None:
    with Publisher(answer=answers.only_end) as engine:
        engine.lose(CLEARED)
        peer = Peer(engine)
        peer.ask(0)
        peer.ask(0)
        assert peer.answered(2) == [None, None]
        peer.close()


def test_a_ring_forgets_its_oldest_batches() -> None:
    with Publisher(buffer_steps=2) as engine:
        for _ in range(5):
            engine.lose(CLEARED)
        peer = Peer(engine)
        peer.ask(0)
        assert peer.answered(3) == [3, 4, None]
        peer.close()


def test_a_request_without_a_delimiter_gets_no_answer(engine: Publisher, peer: Peer) -> None:
    peer._dealer.send_multipart([b"\0" * 8])
    peer.ask(0)
    assert peer.answered(1) == [None]
    assert list(engine.asked) == [0]


def test_ports_can_be_chosen_and_a_second_life_counts_from_0() -> None:
    with Publisher() as first:
        first.publish(CLEARED)
        ports = first.event_port, first.replay_port
        with pytest.raises(zmq.ZMQError, match="in use"):
            Publisher(event_port=first.event_port)
        with pytest.raises(zmq.ZMQError, match="in use"):
            Publisher(replay_port=first.replay_port)
    with Publisher(event_port=ports[0], replay_port=ports[1]) as second:
        assert (second.event_port, second.replay_port) == ports
        assert second.publish(CLEARED).seq == 0


def test_without_a_replay_port_nothing_listens_for_requests() -> None:
    with Publisher(replay_port=None) as engine:
        assert engine.replay_port is None


def test_subscribers_are_counted_as_they_come_and_go(engine: Publisher) -> None:
    peers = [Peer(engine)]
    peers.append(Peer(engine))
    wait_until(lambda: engine.subscribers == 2, what="two", timeout_s=5, every_s=0.005)
    for peer in peers:
        peer.close()
    wait_until(lambda: engine.subscribers == 0, what="none", timeout_s=5, every_s=0.005)


def test_closing_leaves_no_thread_and_may_be_done_twice() -> None:
    before: set[Any] = set(threading.enumerate())
    engine = Publisher()
    assert len(set(threading.enumerate()) - before) == 1
    engine.close()
    engine.close()
    assert set(threading.enumerate()) <= before
