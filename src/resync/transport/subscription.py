"""A subscriber on real ZeroMQ: SUB for the live stream, a DEALER for each replay, one task.

The sockets are plain ones: their file descriptors wake the task, which then reads until nothing is left. So
an idle subscription costs nothing, a batch costs no task switch of its own, and there is no polling. A turn
reads at most `TURN_MESSAGES_MAX` messages before others run: one engine's flood does not delay another
engine.

What is told to the state machine, in this order each turn: connects and disconnects (from the SUB socket's
monitor), then live messages, then replayed ones, then the time. On a disconnect, what is still in the SUB
socket is thrown away: it may be of the old life or already of the next, and the replay behind the reconnect
brings what counts.

Every replay request has a DEALER of its own, so that the remains of an earlier answer can never be taken
for the answer to a later question. Reconnecting is ZeroMQ's own, with its doubling back-off; half-open
connections are found by its heartbeats (ZMTP 3.1 PING, answered by the peer's library, not by its
application).
"""

import asyncio
import random
import zlib
from collections.abc import Iterator
from typing import Any, Final, Protocol

import msgspec
import zmq
from zmq.utils.monitor import parse_monitor_message

from resync.kvsync import wire
from resync.kvsync.effects import Apply, AskReplay, Degrade, Effect, Purge
from resync.kvsync.errors import WireError
from resync.kvsync.fleet import Source
from resync.kvsync.records import Batch, ReplayEnd
from resync.kvsync.subscriber import Statistics, Subscriber, SubscriberSettings
from resync.transport.addresses import endpoint, speaks_ipv6
from resync.transport.errors import AlreadyRunningError

__all__ = ["ConnectionStatistics", "Handler", "Source", "Subscription", "TransportSettings"]

TURN_MESSAGES_MAX: Final = 500
"""Messages read in one turn. At 50-100 us a message this is at most 50 ms in which nothing else runs."""

DISCARD_MAX: Final = 200_000
"""Messages thrown away on a disconnect: more than the pipes of both ends hold."""

_WATCHED_EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED


class TransportSettings(msgspec.Struct, frozen=True):
    """Times and limits of the sockets. The defaults survive a round trip of 2 s.

    A heartbeat is answered within one round trip, so its time-out must exceed the longest one to be
    survived. A new connection needs about four round trips (TCP, greeting, handshake, request) before a
    replay begins to arrive: hence 20 s for its first message. The back-off before a reconnect doubles from
    `reconnect_min_ms`, stretched once per subscription by up to `reconnect_jitter`, to `reconnect_max_ms`.
    """

    heartbeat_interval_ms: int = 2_000
    heartbeat_timeout_ms: int = 10_000
    connect_timeout_ms: int = 10_000
    replay_timeout_ms: int = 20_000
    replay_idle_ms: int = 5_000
    reconnect_min_ms: int = 100
    reconnect_max_ms: int = 5_000
    reconnect_jitter: float = 0.5
    rcvhwm: int = 100_000
    local_address: str | None = None
    subscriber: SubscriberSettings = SubscriberSettings()


class ConnectionStatistics(msgspec.Struct, frozen=True):
    """What the live connection has done: handshakes completed, lost, tried again.

    Messages with wrong frames.
    """

    connected: bool = False
    connects: int = 0
    disconnects: int = 0
    reconnect_attempts: int = 0
    frame_errors: int = 0


class Handler(Protocol):
    """Who is told what the stream says. An exception from any of these ends the subscription's `run`."""

    def apply(self, seq: int, batch: Batch, live: bool) -> None:  # noqa: FBT001 - passed by name
        """Apply this batch; `live` is False when it came by replay or was held back for one."""

    def purge(self, reason: str) -> None:
        """Forget everything about this source."""

    def degrade(self, reason: str) -> None:
        """The index may lack blocks of this source from now on."""

    def state_changed(self, statistics: Statistics) -> None:
        """The state, the exactness or the connection changed."""


DEFAULTS: Final = TransportSettings()


class Subscription:
    """Follows one source until cancelled; `run` once."""

    def __init__(
        self,
        source: Source,
        handler: Handler,
        settings: TransportSettings = DEFAULTS,
        *,
        context: "zmq.Context[zmq.Socket[bytes]] | None" = None,
        subscriber: Subscriber | None = None,
        dice: random.Random | None = None,
    ) -> None:
        self._source = source
        self._handler = handler
        self._settings = settings
        self._context = context or zmq.Context.instance()
        self._machine = subscriber or Subscriber(settings.subscriber)
        # Which engine this is decides its back-off, so that engines that vanish together come back apart.
        self._dice = dice or random.Random(zlib.crc32(f"{settings.local_address} {source.pod_key}".encode()))
        self._wake = asyncio.Event()
        self._live: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._replay: zmq.Socket[bytes] | None = None
        self._replay_deadline_s: float | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._connected = False
        self._connects = self._disconnects = self._reconnect_attempts = self._frame_errors = 0
        self._told: object = None

    # --- what can be asked

    @property
    def source(self) -> Source:
        """Whom it follows."""
        return self._source

    def statistics(self) -> Statistics:
        """Where the stream stands."""
        return self._machine.statistics()

    def connections(self) -> ConnectionStatistics:
        """What the live connection has done."""
        return ConnectionStatistics(
            self._connected, self._connects, self._disconnects, self._reconnect_attempts, self._frame_errors
        )

    # --- running

    async def run(self) -> None:
        """Follow the source until cancelled; leaves no socket, reader, timer or task behind.

        Raises AlreadyRunningError on a second start, zmq.ZMQError for an address that cannot be used, and
        whatever the handler raises.
        """
        if self._live is not None:
            raise AlreadyRunningError(f"the subscription to {self._source.pod_key} runs already")
        try:
            self._open()
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._turn():
                    self._wake.set()
                    await asyncio.sleep(0)  # others first: this loop would otherwise never let go under load
        finally:
            self._close()

    def _open(self) -> None:
        self._live = self._dial(zmq.SUB)
        self._live.setsockopt(zmq.SUBSCRIBE, b"")
        self._monitor = self._live.get_monitor_socket(_WATCHED_EVENTS)
        self._watch(self._monitor)
        self._watch(self._live)
        self._live.connect(self._endpoint(self._source.event_port))
        self._wake.set()

    def _dial(self, kind: int) -> "zmq.Socket[bytes]":
        settings = self._settings
        reconnect_ms = int(settings.reconnect_min_ms * (1 + settings.reconnect_jitter * self._dice.random()))
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        for option, value in {
            zmq.LINGER: 0,
            zmq.RCVHWM: settings.rcvhwm,
            zmq.IPV6: int(speaks_ipv6(self._source.host)),
            zmq.HEARTBEAT_IVL: settings.heartbeat_interval_ms,
            zmq.HEARTBEAT_TIMEOUT: settings.heartbeat_timeout_ms,
            zmq.HEARTBEAT_TTL: settings.heartbeat_timeout_ms,
            zmq.CONNECT_TIMEOUT: settings.connect_timeout_ms,
            zmq.RECONNECT_IVL: reconnect_ms,
            zmq.RECONNECT_IVL_MAX: max(reconnect_ms, settings.reconnect_max_ms),
        }.items():
            socket.setsockopt(option, value)
        return socket

    def _endpoint(self, port: int) -> str:
        return endpoint(self._source.host, port, self._settings.local_address)

    def _watch(self, socket: "zmq.Socket[Any]") -> None:
        asyncio.get_running_loop().add_reader(socket.FD, self._wake.set)

    def _close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._drop_replay()
        if self._monitor is not None and self._live is not None:
            self._live.disable_monitor()
        for socket in (self._monitor, self._live):
            if socket is not None:
                _unwatch_and_close(socket)
        self._monitor = self._live = None
        self._connected = False

    # --- one turn: read everything, do everything, set the alarm

    def _turn(self) -> bool:
        """Whether there may be more to read."""
        now_s = asyncio.get_running_loop().time()
        self._read_monitor(now_s)
        more = self._read_live(now_s)
        more |= self._read_replay(now_s)
        self._look_at_clock(now_s)
        if not self._machine.awaits_answer:
            self._drop_replay()
        self._tell_changes()
        self._set_alarm()
        return more

    def _read_monitor(self, now_s: float) -> None:
        for frames in _received(self._monitor, TURN_MESSAGES_MAX):
            event = parse_monitor_message(frames)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._connected = True
                self._connects += 1
                self._perform(self._machine.connected(now_s), now_s)
            elif event == zmq.EVENT_CONNECT_RETRIED:
                self._reconnect_attempts += 1
            elif self._connected:
                self._connected = False
                self._disconnects += 1
                _discard(self._live)
                self._perform(self._machine.disconnected(now_s), now_s)

    def _read_live(self, now_s: float) -> bool:
        room = TURN_MESSAGES_MAX
        for frames in _received(self._live, TURN_MESSAGES_MAX):
            room -= 1
            try:
                message = wire.parse_live(frames)
            except (
                WireError
            ):  # without a number it cannot be placed; if it was a batch, the next one shows the gap
                self._frame_errors += 1
                continue
            self._perform(self._machine.live(message, now_s), now_s)
        return room == 0

    def _read_replay(self, now_s: float) -> bool:
        room = TURN_MESSAGES_MAX
        socket = self._replay
        for frames in _received(socket, TURN_MESSAGES_MAX):
            room -= 1
            self._replay_deadline_s = now_s + self._settings.replay_idle_ms / 1000
            self._take_replayed(frames, now_s)
            if self._replay is not socket:
                return True  # another question has been asked; the rest of this answer is void
        return room == 0

    def _take_replayed(self, frames: list[bytes], now_s: float) -> None:
        try:
            answer = wire.parse_replay(frames)
        except WireError:
            self._frame_errors += 1
            return
        if isinstance(answer, ReplayEnd):
            self._drop_replay()
            self._perform(self._machine.replay_ended(now_s), now_s)
        else:
            self._perform(self._machine.replayed(answer, now_s), now_s)

    def _look_at_clock(self, now_s: float) -> None:
        if self._replay_deadline_s is not None and now_s >= self._replay_deadline_s:
            self._drop_replay()
            self._perform(self._machine.replay_timed_out(now_s), now_s)
        self._perform(self._machine.tick(now_s), now_s)

    def _set_alarm(self) -> None:
        due = [at_s for at_s in (self._replay_deadline_s, self._machine.wake_at_s) if at_s is not None]
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if due:
            self._alarm = asyncio.get_running_loop().call_at(min(due), self._wake.set)

    # --- what the machine wants

    def _perform(self, effects: tuple[Effect, ...], now_s: float) -> None:
        for effect in effects:
            match effect:
                case Apply(seq=seq, batch=batch, live=live):
                    self._handler.apply(seq, batch, live=live)
                case AskReplay(start_seq=start_seq):
                    self._ask(start_seq, now_s)
                case Purge(reason=reason):
                    self._handler.purge(reason)
                case Degrade(reason=reason):
                    self._handler.degrade(reason)

    def _ask(self, start_seq: int, now_s: float) -> None:
        self._drop_replay()
        self._replay = self._dial(zmq.DEALER)
        self._watch(self._replay)
        self._replay.connect(self._endpoint(self._source.replay_port))
        self._replay.send_multipart(wire.replay_request(start_seq))
        self._replay_deadline_s = now_s + self._settings.replay_timeout_ms / 1000
        self._wake.set()  # sending can swallow the descriptor's edge: look once without one

    def _drop_replay(self) -> None:
        self._replay_deadline_s = None
        if self._replay is not None:
            _unwatch_and_close(self._replay)
            self._replay = None

    def _tell_changes(self) -> None:
        now = (self._machine.state, self._machine.exact, self._connected, self._connects)
        if now != self._told:
            self._told = now
            self._handler.state_changed(self._machine.statistics())


def _received(socket: "zmq.Socket[bytes] | None", count_max: int) -> "Iterator[list[bytes]]":
    """What is in the socket now, at most `count_max` messages.

    Ends early when the socket is closed meanwhile.
    """
    for _ in range(count_max):
        if socket is None or socket.closed:
            return
        try:
            yield socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


def _discard(socket: "zmq.Socket[bytes] | None") -> None:
    if socket is not None:
        for _ in _received(socket, DISCARD_MAX):
            pass


def _unwatch_and_close(socket: "zmq.Socket[Any]") -> None:
    if not socket.closed:
        asyncio.get_running_loop().remove_reader(socket.FD)
        socket.close(linger=0)
