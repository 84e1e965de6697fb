"""The life of one relayed connection, from the caller's SYN to the last byte in both directions.

The kernel answers the caller's SYN before we know of it, so its `connect` returns at once. What a handshake
costs under a delay is charged to the first bytes instead: the upstream is dialled one way later, the
caller's data may leave one round trip later, the callee's data one and a half. The caller sees what it
would see of a slow network, except the time of `connect` itself. In a partition there is no SYN to hear of
(`synfilter`); one that got in just before it is held until the path is back.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random

from resync.lab.link.alarm import Alarm
from resync.lab.link.chunks import End
from resync.lab.link.dice import branch
from resync.lab.link.faults import Fault, cuts
from resync.lab.link.lane import Lane
from resync.lab.link.rules import Peer, Way
from resync.lab.link.streams import Side, Stream, reset

OUTSIDE = ""
"""The uid of whoever is not a pod."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Who talks to whom.

    Pod uids (`OUTSIDE` for no pod), their advertised addresses, and the callee's real one.
    """

    caller_uid: str
    callee_uid: str
    caller: Peer
    callee: Peer
    upstream: tuple[str, int]
    upstream_source: tuple[str, int] | None


class Connection:
    """Two sides and two streams; tells `on_closed` once when both sockets are gone."""

    def __init__(
        self,
        ends: Ends,
        alarm: Alarm,
        dice: Random,
        *,
        faults: Callable[[Way], tuple[Fault, ...]],
        spawn: Callable[["Connection"], None],
        on_closed: Callable[["Connection"], None],
    ) -> None:
        self.ends = ends
        self._loop = asyncio.get_running_loop()
        self._alarm = alarm
        self._faults = faults
        self._spawn = spawn
        self._on_closed = on_closed
        self._caller: Side | None = None
        self._upstream: Side | None = None
        self._dialling = False
        self._closed = False
        to_callee, to_caller = Lane(branch(dice)), Lane(branch(dice))
        now = self._loop.time
        way = Way(ends.caller_uid, ends.caller, ends.callee_uid, ends.callee)
        self.forward = Stream(to_callee, alarm, now, way=way, on_end=self._changed)
        self.backward = Stream(to_caller, alarm, now, way=way.back, on_end=self._changed)
        self.refresh()

    def accept(self, side: Side, transport: asyncio.Transport) -> None:
        """The caller's socket: hold its bytes and dial the callee when its SYN would have got there."""
        self._caller = side
        side.outgoing, side.incoming, side.on_change = self.forward, self.backward, self._changed
        self.forward.set_source(transport)
        self.backward.set_sink(transport)
        self.refresh()

    def refresh(self) -> None:
        """Rules have changed: ask anew for both directions. A cut takes the other way's acknowledgements."""
        now_s = self._loop.time()
        there, back = self._faults(self.forward.way), self._faults(self.backward.way)
        if self._caller is not None and any(cut.resets for cut in cuts(there + back)):
            self.abort()
            return
        for stream, own, other in ((self.forward, there, back), (self.backward, back, there)):
            stream.lane.set_faults((*own, *(cut.unacknowledged() for cut in cuts(other))), now_s)
            stream.pump()
        self._knock()

    async def dial(self) -> None:
        """Connect to the callee's process; whatever refuses us resets the caller, one way later."""
        host, port = self.ends.upstream
        try:
            await self._loop.create_connection(
                lambda: Side(self._joined), host, port, local_addr=self.ends.upstream_source
            )
        except OSError:
            self.backward.feed(End.RESET)

    def abort(self) -> None:
        """Reset both sides at once; the pod is gone, or a middlebox says so."""
        for side in (self._caller, self._upstream):
            if side is not None and side.transport is not None:
                reset(side.transport)
        if self._upstream is None:
            self._finish()

    def _knock(self) -> None:
        if self._caller is None or self._dialling:
            return
        transit_s = self.forward.lane.transit_s(self._loop.time())
        if transit_s == inf:
            return  # the SYN does not get through; the next change of rules asks again
        self._dialling = True
        if transit_s:
            self._alarm.at(self._loop.time() + transit_s, self._dial_soon)
        else:
            self._dial_soon()

    def _dial_soon(self) -> None:
        if not self._closed:
            self._spawn(self)

    def _joined(self, side: Side, transport: asyncio.Transport) -> None:
        if self._closed:
            reset(transport)
            return
        self._upstream = side
        side.outgoing, side.incoming, side.on_change = self.backward, self.forward, self._changed
        self._charge_handshake()
        self.backward.set_source(transport)
        self.forward.set_sink(transport)
        self._changed()

    def _charge_handshake(self) -> None:
        now_s = self._loop.time()
        back_s = self.backward.lane.transit_s(now_s)
        there_s = self.forward.lane.transit_s(now_s)
        if 0 < back_s + there_s < inf:
            self.forward.not_before_s = now_s + back_s
            self.backward.not_before_s = now_s + back_s + there_s

    def _changed(self) -> None:
        for side, told in ((self._caller, self.backward), (self._upstream, self.forward)):
            if side is not None and told.ended:
                side.close_if_done()
        if self._all_lost():
            self._finish()

    def _all_lost(self) -> bool:
        caller_lost = self._caller is None or self._caller.lost
        upstream_lost = self._upstream.lost if self._upstream is not None else True
        return caller_lost and upstream_lost

    def _finish(self) -> None:
        if not self._closed:
            self._closed = True
            self.forward.lane.drop_all()
            self.backward.lane.drop_all()
            self._on_closed(self)
