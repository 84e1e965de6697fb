"""A partition: nothing gets through, and nobody is told.

What waits leaves at the sender's next retransmission after the cut is healed, head first and the rest with
it, as the kernel would send it; so a stream is late by a time that grows with the length of the cut. A cut
of one direction takes the acknowledgements of the other: there data still arrives until the first
retransmission is due, then that sender stalls too (chaos-mesh issue 4477).

`reset` is ours. It is what a stateful middlebox does that clears its sessions and cuts the path: it knows
both ends and tells each with an RST when the cut begins (RFC 9293, 3.5.3); what follows is dropped in
silence, so a new connection has to wait for the path. A box that came back *without* its table would tell
only those who speak, and leave a silent subscriber deaf for good.
"""

from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import Final

from resync.lab.link.chunks import Chunk
from resync.lab.link.retransmission import RTO_FIRST_S, next_try_s
from resync.lab.link.rules import Rule

SETTINGS: Final = {"drop": frozenset[str](), "reset": frozenset[str]()}


@dataclass(frozen=True, slots=True)
class Partition:
    """Every chunk is held until the cut is over; with `resets` both ends of a connection are reset first."""

    resets: bool = False

    def begin(self, _: Random) -> "Held":
        """The cut on one stream."""
        return Held()

    def unacknowledged(self) -> "Unacknowledged":
        """What the cut does to the other direction."""
        return Unacknowledged()


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """Data arrives, but its acknowledgements do not."""

    def begin(self, _: Random) -> "Held":
        """The stall on one stream."""
        return Held(grace_s=RTO_FIRST_S)


@dataclass(slots=True)
class Held:
    """One stream that gets nothing through from `grace_s` after its first chunk on."""

    grace_s: float = 0.0
    first_s: float = field(default=inf)

    def apply(self, chunk: Chunk) -> Chunk:
        """The chunk, held."""
        self.first_s = min(self.first_s, chunk.arrival_s)
        through = chunk.arrival_s < self.first_s + self.grace_s
        return chunk if through else replace(chunk, release_s=inf)

    def lift(self, chunk: Chunk, now_s: float) -> float:
        """All of it goes with the retransmission of the first."""
        return min(chunk.release_s, next_try_s(min(self.first_s, chunk.arrival_s), now_s))


def read(rule: Rule) -> Partition | None:
    """The partition a `drop` or `reset` rule asks for."""
    return Partition(resets=rule.kind == "reset") if rule.kind in SETTINGS else None
