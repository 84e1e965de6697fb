"""A publisher on real ZeroMQ: PUB for the live stream, ROUTER for replays, as vLLM's engine has them.

Sending never blocks: a PUB socket drops, silently, what a subscriber with a full pipe cannot take, and a
ROUTER socket does the same for replay answers. vLLM raises the limit for the first (`hwm`, 100,000) and
leaves ZeroMQ's 1,000 for the second, which is why its replays of long rings come incomplete; so do ours by
default. Replays are answered from the event loop between other work, one request at a time, and live
publishing stands still meanwhile, as it does there. There a request also waits for the publishing thread, up
to 0.1 s when idle and behind long answers longer: `replay_latency_s`.
"""

import asyncio
from types import TracebackType
from typing import Any, Final, Self

import zmq

from resync.kvsync import wire
from resync.kvsync.errors import WireError
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import Batch, Message
from resync.transport.errors import NotBoundError
from resync.transport.sockets import listen

HWM: Final = 100_000
"""vLLM's default for the PUB socket, in messages per subscriber."""

REPLAY_HWM: Final = 1_000
"""ZeroMQ's default, which vLLM leaves in place for the ROUTER socket."""


class Publication:
    """One publisher's sockets. To be bound, used and closed inside a running event loop."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        hwm: int = HWM,
        replay_hwm: int = REPLAY_HWM,
        topic_frame: bool = True,
        replay_latency_s: float = 0.0,
        context: "zmq.Context[zmq.Socket[bytes]] | None" = None,
    ) -> None:
        self._publisher = publisher
        self._hwm = hwm
        self._replay_hwm = replay_hwm
        self._topic_frame = topic_frame
        self._replay_latency_s = replay_latency_s
        self._context = context or zmq.Context.instance()
        self._live: zmq.Socket[bytes] | None = None
        self._replays: zmq.Socket[bytes] | None = None
        self.event_port = 0
        self.replay_port: int | None = None
        self.replay_requests = 0
        self.refused_requests = 0

    @property
    def publisher(self) -> Publisher:
        """The numbers and the ring behind the sockets."""
        return self._publisher

    def bind(self, host: str, event_port: int = 0, replay_port: int | None = 0) -> None:
        """Listen on `host`; port 0 takes a free one, a replay port of None offers no replay.

        `event_port` and `replay_port` then hold the real ports. Raises zmq.ZMQError when one is taken.
        """
        try:
            self._live, self.event_port = listen(self._context, zmq.PUB, host, event_port, hwm=self._hwm)
            if replay_port is not None:
                self._replays, self.replay_port = listen(
                    self._context, zmq.ROUTER, host, replay_port, hwm=self._replay_hwm
                )
                asyncio.get_running_loop().add_reader(self._replays.FD, self._answer_requests)
                self._answer_requests()  # whatever came before the reader was in place raises no new edge
        except BaseException:
            self.close()
            raise

    def publish(self, batch: Batch) -> Message:
        """Number, keep and send `batch`; the message sent. Raises NotBoundError."""
        if self._live is None:
            raise NotBoundError("publish() before bind() or after close()")
        message = self._publisher.publish(batch)
        self._live.send_multipart(wire.live_frames(message))
        return message

    def _answer_requests(self) -> None:
        while self._replays is not None:
            try:
                frames = self._replays.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if self._replay_latency_s:
                asyncio.get_running_loop().call_later(self._replay_latency_s, self._answer_late, frames)
            else:
                self._answer(self._replays, frames)

    def _answer_late(self, frames: list[bytes]) -> None:
        if self._replays is not None:
            self._answer(self._replays, frames)

    def _answer(self, socket: "zmq.Socket[Any]", frames: list[bytes]) -> None:
        self.replay_requests += 1
        try:
            identity, start_seq = wire.parse_replay_request(frames)
        except WireError:  # the engine stays silent as well: the asker's time-out is what tells it
            self.refused_requests += 1
            return
        for message in self._publisher.replay(start_seq):
            socket.send_multipart([identity, *wire.replay_frames(message, topic_frame=self._topic_frame)])
        socket.send_multipart([identity, *wire.end_frames(topic_frame=self._topic_frame)])

    def close(self) -> None:
        """Close both sockets; unsent messages are dropped. Closing twice is no error."""
        if self._replays is not None:
            asyncio.get_running_loop().remove_reader(self._replays.FD)
            self._replays.close(linger=0)
            self._replays = None
        if self._live is not None:
            self._live.close(linger=0)
            self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
