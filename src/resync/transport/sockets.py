"""ZeroMQ sockets as this package wants them: bounded, beating, and read without blocking.

The sockets are plain ones, their file descriptors wake the event loop. Such a descriptor is edge-triggered:
whoever is woken must read until nothing is left, and look once unasked after whatever may have swallowed an
edge (connecting, sending).
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from resync.kvsync.source import Source
from resync.transport.addresses import endpoint, speaks_ipv6
from resync.transport.settings import TransportSettings


def listen(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, host: str, port: int, *, hwm: int
) -> "tuple[zmq.Socket[bytes], int]":
    """A socket of that kind that listens, and its port; port 0 takes a free one. Raises zmq.ZMQError."""
    socket: zmq.Socket[bytes] = context.socket(kind)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, hwm)
        socket.setsockopt(zmq.IPV6, speaks_ipv6(host))
        socket.bind(endpoint(host, port or "*"))
        bound = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    except BaseException:
        socket.close()
        raise
    return socket, int(bound.rpartition(":")[2])


class Dialer:
    """Makes the sockets that talk to one source."""

    def __init__(
        self,
        source: Source,
        settings: TransportSettings,
        context: "zmq.Context[zmq.Socket[bytes]]",
        wake: Callable[[], None],
    ) -> None:
        self.source = source
        self.settings = settings
        self._context = context
        self._wake = wake

    def socket(self, kind: int) -> "zmq.Socket[bytes]":
        """A socket that is not connected yet; what happens to it wakes the loop."""
        settings = self.settings
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        for option, value in {
            zmq.LINGER: 0,
            zmq.RCVHWM: settings.rcvhwm,
            zmq.IPV6: int(speaks_ipv6(self.source.host)),
            zmq.HEARTBEAT_IVL: settings.heartbeat_interval_ms,
            zmq.HEARTBEAT_TIMEOUT: settings.heartbeat_timeout_ms,
            zmq.HEARTBEAT_TTL: settings.heartbeat_timeout_ms,
            zmq.CONNECT_TIMEOUT: settings.connect_timeout_ms,
            zmq.HANDSHAKE_IVL: settings.handshake_timeout_ms,
            zmq.RECONNECT_IVL: settings.reconnect_min_ms,
            zmq.RECONNECT_IVL_MAX: max(settings.reconnect_min_ms, settings.reconnect_max_ms),
        }.items():
            socket.setsockopt(option, value)
        self.watch(socket)
        return socket

    def endpoint(self, port: int) -> str:
        """Where that port of the source is, as ZeroMQ writes it."""
        return endpoint(self.source.host, port, self.settings.local_address)

    def watch(self, socket: "zmq.Socket[Any]") -> None:
        """Whatever happens to `socket` wakes the loop."""
        asyncio.get_running_loop().add_reader(socket.FD, self._wake)
        self._wake()


def received(socket: "zmq.Socket[bytes]", count_max: int) -> Iterator[list[bytes]]:
    """What is in `socket` now, at most `count_max` messages; ends early when it is closed meanwhile."""
    for _ in range(count_max):
        if socket.closed:
            return
        try:
            yield socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


def hang_up(socket: "zmq.Socket[Any]") -> None:
    """Close `socket` with whatever is in it; twice is no error."""
    if not socket.closed:
        asyncio.get_running_loop().remove_reader(socket.FD)
        socket.close(linger=0)
