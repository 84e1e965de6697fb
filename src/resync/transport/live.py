"""One connection to the live stream, from dialling to its end.

ZeroMQ could reconnect a SUB socket by itself, and would then put the batches of the next life of an engine
behind those of the last, in one pipe. So each connection has a socket of its own, and what is still in it
when it ends goes with it: the replay behind the next connect brings what counts.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from resync.transport.sockets import Dialer, hang_up, received

_WATCHED: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EVENTS_MAX: Final = 16
"""One connection goes up once and down once; ZeroMQ says the latter in up to three ways."""


class Change(StrEnum):
    """What has become of the connection."""

    UP = "up"
    DOWN = "down"


class LiveConnection:
    """A SUB socket and the monitor that tells what becomes of it.

    `deadline_s` is when it must be up, None once it is. Raises zmq.ZMQError for an address that cannot be
    used.
    """

    def __init__(self, dialer: Dialer, now_s: float) -> None:
        self._monitor: zmq.Socket[bytes] | None = None
        self._socket = dialer.socket(zmq.SUB)
        try:
            self._socket.setsockopt(zmq.RECONNECT_IVL, -1)
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")
            self._monitor = self._socket.get_monitor_socket(_WATCHED)
            dialer.watch(self._monitor)
            self._socket.connect(dialer.endpoint(dialer.source.event_port))
        except BaseException:
            self.close()
            raise
        # TCP and the handshake have limits of their own; this one is for a host that is never dialled at all
        limit_ms = dialer.settings.connect_timeout_ms + dialer.settings.handshake_timeout_ms
        self.deadline_s: float | None = now_s + limit_ms / 1000

    @property
    def up(self) -> bool:
        """Whether it is up: batches may arrive."""
        return self.deadline_s is None and not self._socket.closed

    def changes(self, now_s: float) -> Iterator[Change]:
        """What has become of it since the last call; nothing follows DOWN."""
        if self._monitor is None:
            return
        for frames in received(self._monitor, _EVENTS_MAX):
            if parse_monitor_message(frames)["event"] != zmq.EVENT_HANDSHAKE_SUCCEEDED:
                yield Change.DOWN
                return
            self.deadline_s = None
            yield Change.UP
        if self.deadline_s is not None and now_s >= self.deadline_s:
            yield Change.DOWN

    def messages(self, count_max: int) -> Iterator[list[bytes]]:
        """The frames of what has arrived."""
        return received(self._socket, count_max)

    def close(self) -> None:
        """Hang up; twice is no error."""
        if self._monitor is not None:
            if not self._socket.closed:
                self._socket.disable_monitor()
            hang_up(self._monitor)
        hang_up(self._socket)
