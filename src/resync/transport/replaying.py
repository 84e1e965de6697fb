"""One replay request and its answer.

Every request has a DEALER of its own, so that the remains of an earlier answer can never be taken for the
answer to a later question (AIBrix `zmq_client.go` reads leftovers). Until it is connected ZeroMQ keeps the
request and dials again, for an engine opens its replay port a moment after the other one.

Whoever answers there and is no replay service (a port that was named by mistake: an HTTP server, another
rank's event stream) ends the connection for good at the handshake, now and then before the request is in it.
ZeroMQ would then wait for a peer that never comes, and every other engine with it.
"""

from collections.abc import Iterator
from contextlib import suppress

import zmq

from resync.kvsync import wire
from resync.transport.sockets import Dialer, hang_up, received


class ReplayRequest:
    """A DEALER that has asked for everything from `start_seq` on; `deadline_s` is when it has failed."""

    def __init__(self, dialer: Dialer, start_seq: int, now_s: float) -> None:
        self._idle_s = dialer.settings.replay_idle_ms / 1000
        self.deadline_s = now_s + dialer.settings.replay_timeout_ms / 1000
        self._socket = dialer.socket(zmq.DEALER)
        self._socket.connect(dialer.endpoint(dialer.source.replay_port))
        with suppress(zmq.Again):  # nobody to ask: no answer comes, which is what the deadline is for
            self._socket.send_multipart(wire.replay_request(start_seq), zmq.NOBLOCK)

    def messages(self, count_max: int, now_s: float) -> Iterator[list[bytes]]:
        """The frames of what has arrived; each puts the deadline off."""
        for frames in received(self._socket, count_max):
            self.deadline_s = now_s + self._idle_s
            yield frames

    def close(self) -> None:
        """Hang up; what is still to come of the answer is void. Twice is no error."""
        hang_up(self._socket)
