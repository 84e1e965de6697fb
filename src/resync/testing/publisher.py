"""An engine's publisher for tests: real ZeroMQ, and every fault of the stream on request."""

import threading
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import zmq

from resync.kits.clocks import Clock, SystemClock
from resync.kvsync import publisher, wire
from resync.kvsync.errors import WireError
from resync.kvsync.publisher import BUFFER_STEPS
from resync.kvsync.records import Batch, KVEvent, Message, ReplayEnd
from resync.kvsync.wire import HashForm, WireForm
from resync.testing.answers import Answer, complete
from resync.transport.publication import HWM, REPLAY_HWM
from resync.transport.sockets import listen

SUBSCRIBED: Final = b"\x01"
REQUESTS_KEPT_MAX: Final = 10_000
"""Replay requests remembered in `asked`; older ones are forgotten."""


class Publisher:
    """Publishes what a test says and answers replays as a test says, from a thread of its own.

    Listens as soon as it exists; port 0 takes a free one, a replay port of None offers no replay. A second
    publisher on the ports of a closed one is that engine's next life: it counts from 0 again. `topic_frame`:
    replies carry the topic, as from vLLM 0.26 on. Limits are vLLM's: replays of more than 1,000 batches can
    lose some to a full pipe. To be used from one thread; needs no event loop.

    Raises zmq.ZMQError when a port is taken.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        event_port: int = 0,
        replay_port: int | None = 0,
        topic: bytes = b"",
        form: WireForm = WireForm.MAP,
        hash_form: HashForm = HashForm.INT,
        buffer_steps: int = BUFFER_STEPS,
        topic_frame: bool = True,
        answer: Answer = complete,
        clock: Clock | None = None,
    ) -> None:
        self.host = host
        self.asked: deque[int] = deque(maxlen=REQUESTS_KEPT_MAX)
        self._numbers = publisher.Publisher(
            buffer_steps=buffer_steps, topic=topic, form=form, hash_form=hash_form
        )
        self._ring = threading.Lock()
        self._topic_frame = topic_frame
        self._answer = answer
        self._next_answers: deque[Answer] = deque()
        self._clock = clock or SystemClock()
        self._subscribers = 0
        self._thread: threading.Thread | None = None
        self.replay_port: int | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._open(event_port, replay_port)
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def _open(self, event_port: int, replay_port: int | None) -> None:
        # XPUB is PUB to whoever subscribes, and tells how many do
        self._live, self.event_port = listen(self._context, zmq.XPUB, self.host, event_port, hwm=HWM)
        self._live.setsockopt(zmq.XPUB_VERBOSER, 1)
        if replay_port is None:
            return
        replays, self.replay_port = listen(self._context, zmq.ROUTER, self.host, replay_port, hwm=REPLAY_HWM)
        self._thread = threading.Thread(target=self._serve, args=(replays,), name="replays", daemon=True)
        self._thread.start()

    # --- the live stream

    def publish(self, *events: KVEvent, ts: float | None = None) -> Message:
        """Number, keep and send one batch of these events; the message sent."""
        message = self.lose(*events, ts=ts)
        self.send(message)
        return message

    def lose(self, *events: KVEvent, ts: float | None = None) -> Message:
        """Number and keep one batch, and send it to nobody, as a full pipe does."""
        batch = Batch(self._clock.wall_s() if ts is None else ts, events)
        with self._ring:
            return self._numbers.publish(batch)

    def send(self, what: Message | Sequence[bytes]) -> None:
        """Send a message, again or out of turn, or frames that are no message at all."""
        self._live.send_multipart(wire.live_frames(what) if isinstance(what, Message) else what)

    @property
    def published_seq(self) -> int:
        """The number of the last batch, -1 before the first."""
        return self._numbers.published_seq

    @property
    def subscribers(self) -> int:
        """How many subscriptions are in effect now. What is published before that is lost to them."""
        while self._live.poll(0):
            self._subscribers += 1 if self._live.recv().startswith(SUBSCRIBED) else -1
        return self._subscribers

    # --- replays

    def answer_next(self, *answers: Answer) -> None:
        """Answer the next requests so, one after the other; those behind them as the constructor says."""
        self._next_answers.extend(answers)

    def _serve(self, replays: "zmq.Socket[bytes]") -> None:
        try:
            while True:
                identity, *request = replays.recv_multipart()
                for frames in self._reply(identity, request):
                    replays.send_multipart([identity, *frames])
        except zmq.ContextTerminated:
            pass  # `close` asked for it
        finally:
            replays.close(linger=0)

    def _reply(self, identity: bytes, request: list[bytes]) -> list[list[bytes]]:
        try:
            _, start_seq = wire.parse_replay_request([identity, *request])
        except WireError:
            return []  # the engine stays silent as well: the asker's time-out is what tells it
        self.asked.append(start_seq)
        answer = self._next_answers.popleft() if self._next_answers else self._answer
        with self._ring:
            right: list[Message | ReplayEnd] = [*self._numbers.replay(start_seq), ReplayEnd()]
        return [self._frames(one) for one in answer(right)]

    def _frames(self, one: Message | ReplayEnd) -> list[bytes]:
        if isinstance(one, ReplayEnd):
            return wire.end_frames(topic_frame=self._topic_frame)
        return wire.replay_frames(one, topic_frame=self._topic_frame)

    # --- the end

    def close(self) -> None:
        """End as a process does: connections break, the ports are free. Twice is no error."""
        self._live.close(linger=0)
        self._context.term()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
