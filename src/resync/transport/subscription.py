"""A subscriber on real ZeroMQ: one live connection at a time, a request for each replay, one task.

The sockets' file descriptors wake the task, which then reads until nothing is left. So an idle subscription
costs nothing, a batch costs no task switch of its own, and there is no polling. A turn reads at most
`TURN_MESSAGES_MAX` messages before others run: one engine's flood does not delay another engine.

What is told to the state machine, in this order each turn: what became of the connection, then live messages,
then replayed ones, then the time. A connection that ends is dialled again after a pause that doubles
(`backoff`); half-open ones are found by ZeroMQ's heartbeats (ZMTP 3.1 PING, answered by the peer's library,
not by its application). All times are those of the event loop, all chance is that of `dice`.
"""

import asyncio
import random
import zlib
from typing import Final, Protocol

import msgspec
import zmq

from resync.kvsync import wire
from resync.kvsync.effects import Apply, AskReplay, Degrade, Effect, Purge
from resync.kvsync.errors import WireError
from resync.kvsync.records import Batch, ReplayEnd
from resync.kvsync.source import Source
from resync.kvsync.subscriber import Statistics, Subscriber
from resync.transport.backoff import Backoff
from resync.transport.errors import AlreadyRunningError
from resync.transport.live import Change, LiveConnection
from resync.transport.replaying import ReplayRequest
from resync.transport.settings import DEFAULTS, TransportSettings
from resync.transport.sockets import Dialer

__all__ = ["ConnectionStatistics", "Handler", "Source", "Subscription", "TransportSettings"]

TURN_MESSAGES_MAX: Final = 500
"""Messages read in one turn. At 50-100 us a message this is at most 50 ms in which nothing else runs."""


class ConnectionStatistics(msgspec.Struct, frozen=True):
    """What the live connection has done: come up, gone down, been dialled again.

    `frame_errors`: messages that are no batch and no marker.
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
        self._machine = subscriber or Subscriber(settings.subscriber)
        self._wake = asyncio.Event()
        self._dialer = Dialer(source, settings, context or zmq.Context.instance(), self._wake.set)
        # Which engine this is decides its pauses, so that engines that vanish together are dialled apart.
        seed = zlib.crc32(f"{settings.local_address} {source.pod_key}".encode())
        self._backoff = Backoff(
            min_s=settings.reconnect_min_ms / 1000,
            max_s=settings.reconnect_max_ms / 1000,
            jitter=settings.reconnect_jitter,
            dice=dice or random.Random(seed),
        )
        self._running = False
        self._live: LiveConnection | None = None
        self._redial_at_s: float | None = None
        self._replay: ReplayRequest | None = None
        self._alarm: asyncio.TimerHandle | None = None
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
            self._is_up(), self._connects, self._disconnects, self._reconnect_attempts, self._frame_errors
        )

    def _is_up(self) -> bool:
        return self._live is not None and self._live.up

    # --- running

    async def run(self) -> None:
        """Follow the source until cancelled; leaves no socket, reader, timer or task behind.

        Raises AlreadyRunningError on a second start, zmq.ZMQError for an address that cannot be used, and
        whatever the handler raises.
        """
        if self._running:
            raise AlreadyRunningError(f"the subscription to {self._source.pod_key} runs already")
        self._running = True
        try:
            self.connect()
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._turn():
                    self._wake.set()
                    await asyncio.sleep(0)  # others first: this loop would otherwise never let go under load
        finally:
            self._running = False
            self.close()

    def connect(self) -> None:
        """Dial, inside a running loop. While a connection is up or on its way this changes nothing."""
        if self._live is None and self._redial_at_s is None:
            self._live = LiveConnection(self._dialer, _now_s())

    def close(self) -> None:
        """Hang up everything. Twice is no error; a running `run` does it by itself."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._drop_replay()
        self._redial_at_s = None
        if self._live is not None:
            self._live.close()
            self._live = None

    def heard_published(self, seq: int) -> None:
        """The engine says, by another way than its stream, that its last batch is `seq`.

        Say it as often as it is read: see `Subscriber.published`.
        """
        now_s = _now_s()
        self._perform(self._machine.published(seq, now_s), now_s)
        self._wake.set()

    # --- one turn: read everything, do everything, set the alarm

    def _turn(self) -> bool:
        """Whether there may be more to read."""
        now_s = _now_s()
        self._follow_connection(now_s)
        more = self._read_live(now_s)
        more |= self._read_replay(now_s)
        self._look_at_clock(now_s)
        if not self._machine.awaits_answer:
            self._drop_replay()
        self._tell_changes()
        self._set_alarm()
        return more

    def _follow_connection(self, now_s: float) -> None:
        if self._redial_at_s is not None and now_s >= self._redial_at_s:
            self._redial_at_s = None
            self._reconnect_attempts += 1
            self.connect()
        if self._live is None:
            return
        was_up = self._live.up
        for change in self._live.changes(now_s):
            if change is Change.UP:
                was_up = True
                self._connects += 1
                self._backoff.reset()
                self._perform(self._machine.connected(now_s), now_s)
            else:
                self._end_connection(now_s, was_up=was_up)

    def _end_connection(self, now_s: float, *, was_up: bool) -> None:
        assert self._live is not None, "there is no connection to end. This is a bug."
        self._live.close()
        self._live = None
        self._redial_at_s = now_s + self._backoff.pause_s()
        if was_up:
            self._disconnects += 1
            self._perform(self._machine.disconnected(now_s), now_s)

    def _read_live(self, now_s: float) -> bool:
        if self._live is None:
            return False
        room = TURN_MESSAGES_MAX
        for frames in self._live.messages(TURN_MESSAGES_MAX):
            room -= 1
            try:
                message = wire.parse_live(frames)
            except (
                WireError
            ):  # without a number it has no place; if it was a batch, the next one shows the gap
                self._frame_errors += 1
                continue
            self._perform(self._machine.live(message, now_s), now_s)
        return room == 0

    def _read_replay(self, now_s: float) -> bool:
        request = self._replay
        if request is None:
            return False
        room = TURN_MESSAGES_MAX
        for frames in request.messages(TURN_MESSAGES_MAX, now_s):
            room -= 1
            self._take_replayed(frames, now_s)
            if self._replay is not request:
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
        if self._replay is not None and now_s >= self._replay.deadline_s:
            self._drop_replay()
            self._perform(self._machine.replay_timed_out(now_s), now_s)
        self._perform(self._machine.tick(now_s), now_s)

    def _set_alarm(self) -> None:
        due = [self._redial_at_s, self._machine.wake_at_s]
        due += [one.deadline_s for one in (self._live, self._replay) if one is not None]
        if self._alarm is not None:
            self._alarm.cancel()
        at_s = min((one for one in due if one is not None), default=None)
        self._alarm = None
        if at_s is not None:
            self._alarm = asyncio.get_running_loop().call_at(at_s, self._wake.set)

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
        self._replay = ReplayRequest(self._dialer, start_seq, now_s)

    def _drop_replay(self) -> None:
        if self._replay is not None:
            self._replay.close()
            self._replay = None

    def _tell_changes(self) -> None:
        now = (self._machine.state, self._machine.exact, self._is_up(), self._connects)
        if now != self._told:
            self._told = now
            self._handler.state_changed(self._machine.statistics())


def _now_s() -> float:
    return asyncio.get_running_loop().time()
