"""A relayed connection: two sockets, and one `Stream` for each direction between them."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final

from resync.lab.link.alarm import Alarm
from resync.lab.link.chunks import End
from resync.lab.link.lane import Lane
from resync.lab.link.rules import Way

# A direction may keep this much under way before its sender is made to wait: 80 MB/s at 50 ms.
BUFFER_BYTES_MAX: Final = 4 * 1024 * 1024
_BUFFER_BYTES_RESUME: Final = BUFFER_BYTES_MAX // 2
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Stream:
    """One direction: what the source says reaches the sink when the lane lets it."""

    def __init__(
        self,
        lane: Lane,
        alarm: Alarm,
        now_s: Callable[[], float],
        *,
        way: Way,
        on_end: Callable[[], None],
    ) -> None:
        self.lane = lane
        self.way = way
        self.source_done = False
        self.ended = False
        self._on_end = on_end
        self.not_before_s = -inf
        self._alarm = alarm
        self._now_s = now_s
        self._source: asyncio.Transport | None = None
        self._sink: asyncio.Transport | None = None
        self._sink_ready = True
        self._reading = True
        self._armed_s = inf

    def set_source(self, transport: asyncio.Transport) -> None:
        """The socket bytes come from."""
        self._source = transport

    def set_sink(self, transport: asyncio.Transport) -> None:
        """The socket bytes go to; what has waited for it flows."""
        self._sink = transport
        self.pump()

    def feed(self, payload: bytes | End) -> None:
        """Take what the source said, now."""
        if isinstance(payload, End):
            self.source_done = True
        now_s = self._now_s()
        if self.lane.clear and self._sink is not None and self._sink_ready and now_s >= self.not_before_s:
            self._emit(payload)
            return
        self.lane.push(payload, max(now_s, self.not_before_s))
        self._arm()
        if self.lane.queued_bytes > BUFFER_BYTES_MAX:
            self._pause_source()

    def pump(self) -> None:
        """Let out everything whose time has come."""
        self._armed_s = inf
        now_s = self._now_s()
        while self._sink is not None and self._sink_ready:
            payload = self.lane.pop_due(now_s)
            if payload is None:
                break
            self._emit(payload)
        self._arm()
        if not self._reading and self.lane.queued_bytes <= _BUFFER_BYTES_RESUME:
            self._resume_source()

    def set_sink_ready(self, *, ready: bool) -> None:
        """The sink's socket is full (stop) or has drained (go on)."""
        self._sink_ready = ready
        if ready:
            self.pump()

    def _arm(self) -> None:
        due_s = self.lane.next_release_s
        if due_s < self._armed_s and self._sink is not None and self._sink_ready:
            self._armed_s = due_s
            self._alarm.at(due_s, self.pump)

    def _emit(self, payload: bytes | End) -> None:
        sink = self._sink
        assert sink is not None
        if isinstance(payload, End):
            self._end(sink, payload)
        elif not sink.is_closing():
            sink.write(payload)

    def _end(self, sink: asyncio.Transport, end: End) -> None:
        self.ended = True
        if end is End.RESET:
            reset(sink)
        elif not sink.is_closing() and sink.can_write_eof():
            # The peer may have reset it a moment ago, unseen yet: then nobody is left to be told.
            with suppress(OSError):
                sink.write_eof()
        self._on_end()

    def _pause_source(self) -> None:
        if self._reading and self._source is not None and not self._source.is_closing():
            self._reading = False
            self._source.pause_reading()

    def _resume_source(self) -> None:
        if self._source is not None and not self._source.is_closing():
            self._reading = True
            self._source.resume_reading()


class Side(asyncio.Protocol):
    """One of the two sockets of a connection.

    Feeds the stream that leaves it, drains the one that comes to it.
    """

    def __init__(self, on_open: Callable[["Side", asyncio.Transport], None]) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.transport: asyncio.Transport | None = None
        self.outgoing: Stream | None = None
        self.incoming: Stream | None = None
        self.lost = False
        self._on_open = on_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there (asyncio has set TCP_NODELAY on it)."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._on_open(self, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        assert self.outgoing is not None
        self.outgoing.feed(data)

    def eof_received(self) -> bool:
        """The peer will say no more but may still listen: keep the socket for the other direction."""
        if self.outgoing is not None:
            self.outgoing.feed(End.EOF)
        self.on_change()
        return True

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        if self.incoming is not None:
            self.incoming.set_sink_ready(ready=False)

    def resume_writing(self) -> None:
        """The socket's buffer has drained."""
        if self.incoming is not None:
            self.incoming.set_sink_ready(ready=True)

    def close_if_done(self) -> None:
        """Close the socket, having been told everything, if it has also said everything."""
        transport = self.transport
        done = self.outgoing is not None and self.outgoing.source_done
        if done and transport is not None and not transport.is_closing():
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone; a reset is passed on behind what is still under way."""
        self.lost = True
        if exc is not None and self.outgoing is not None:
            self.outgoing.feed(End.RESET)
        self.on_change()


def reset(transport: asyncio.Transport) -> None:
    """Close with RST, as a host does that knows nothing of the connection."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
