"""The engine's sockets: what they answer, and that nothing is left of them."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import zmq

from resync.kits.waits import wait_until_async
from resync.kvsync import wire
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import AllBlocksCleared, Batch
from resync.transport.errors import NotBoundError
from resync.transport.publication import Publication

pytestmark = pytest.mark.integration

CLEARED = Batch(1.0, (AllBlocksCleared(),))


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


async def test_publishing_without_sockets_is_refused() -> None:
    with pytest.raises(NotBoundError):
        Publication(Publisher()).publish(CLEARED)


async def test_a_taken_port_is_an_error_that_leaves_nothing_open(
    context: "zmq.Context[zmq.Socket[bytes]]",
) -> None:
    with Publication(Publisher(), context=context) as engine:
        engine.bind("127.0.0.1")
        second = Publication(Publisher(), context=context)
        with pytest.raises(zmq.ZMQError, match="in use"):
            second.bind("127.0.0.1", 0, engine.replay_port)
        with pytest.raises(zmq.ZMQError, match="in use"):
            second.bind("127.0.0.1", engine.event_port)
        assert (second._live, second._replays) == (None, None)


@pytest.mark.parametrize("topic_frame", [True, False])
async def test_the_replay_port_answers_dealer_and_req_as_the_engine_does(
    context: "zmq.Context[zmq.Socket[bytes]]",
    topic_frame: bool,  # noqa: FBT001
) -> None:
    engine = Publication(Publisher(topic=b"t"), context=context, topic_frame=topic_frame)
    with engine, ExitStack() as stack:
        engine.bind("127.0.0.1", 0, 0)
        for _ in range(2):
            engine.publish(CLEARED)
        assert engine.publisher.published_seq == 1
        dealer, req = (stack.enter_context(context.socket(kind)) for kind in (zmq.DEALER, zmq.REQ))
        for socket in (dealer, req):
            socket.connect(f"tcp://127.0.0.1:{engine.replay_port}")
        dealer.send_multipart([b"\0" * 8])  # without the delimiter: no answer at all
        dealer.send_multipart(wire.replay_request(1))
        req.send_multipart([b"\0" * 8])

        first, end = await received(dealer), await received(dealer)
        assert len(first) == (4 if topic_frame else 3)
        assert (first[-2], end) == ((1).to_bytes(8, "big"), wire.end_frames(topic_frame=topic_frame))
        assert (await received(req))[-2] == b"\0" * 8
        assert (engine.replay_requests, engine.refused_requests) == (3, 1)
        assert not dealer.poll(0)


async def test_a_replay_may_be_answered_late_with_what_has_been_published_meanwhile(
    context: "zmq.Context[zmq.Socket[bytes]]",
) -> None:
    engine = Publication(Publisher(), context=context, replay_latency_s=0.2)
    with engine, context.socket(zmq.DEALER) as dealer:
        engine.bind("127.0.0.1", 0, 0)
        engine.publish(CLEARED)
        dealer.connect(f"tcp://127.0.0.1:{engine.replay_port}")
        dealer.send_multipart(wire.replay_request(0))
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        engine.publish(CLEARED)
        numbers = [(await received(dealer))[-2] for _ in range(3)]
        assert loop.time() - asked_s >= 0.2
        assert [int.from_bytes(number, "big") for number in numbers[:2]] == [0, 1]


async def test_a_replay_that_comes_due_after_the_end_is_no_error(
    context: "zmq.Context[zmq.Socket[bytes]]",
) -> None:
    engine = Publication(Publisher(), context=context, replay_latency_s=0.01)
    engine.bind("127.0.0.1", 0, 0)
    engine.close()
    engine._answer_late(wire.replay_request(0))
    assert engine.replay_requests == 0


async def test_closing_twice_is_no_error_and_frees_the_ports(
    context: "zmq.Context[zmq.Socket[bytes]]",
) -> None:
    engine = Publication(Publisher(), context=context)
    engine.bind("127.0.0.1")
    sockets = (engine._live, engine._replays)
    engine.close()
    engine.close()
    assert all(socket is not None and socket.closed for socket in sockets)


async def received(socket: Any) -> list[bytes]:
    async def ready() -> bool:
        return bool(socket.poll(0))

    await wait_until_async(ready, what="an answer", timeout_s=5, every_s=0.005)
    return list(socket.recv_multipart())
