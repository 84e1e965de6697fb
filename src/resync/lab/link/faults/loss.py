"""netem's loss, as a stream feels it: what was lost comes again, one retransmission time-out later.

Every chunk is lost with probability `loss`, and so is each retransmission of it; what follows waits behind.
Draws may lean on the one before (`loss_corr`), as in Linux `net/sched/sch_netem.c` (`loss_event`). One draw
per chunk, whatever its size: a relay does not see segments, and fast retransmission, which would spare a
busy stream most of the waiting, needs them.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from resync.lab.link.chunks import Chunk
from resync.lab.link.dice import Leaning
from resync.lab.link.retransmission import after_losses_s, next_try_s
from resync.lab.link.rules import Rule

SETTINGS: Final = {"netem": frozenset({"loss", "loss_corr"})}
LOST_IN_A_ROW_MAX: Final = 15
"""Linux gives a connection up after as many (`tcp_retries2`); here the chunk gets through then."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss of `share` (0..1), each draw leaning on the last by `correlation` (0..1)."""

    share: float
    correlation: float = 0.0

    def begin(self, dice: Random) -> "LossEffect":
        """The loss on one stream."""
        return LossEffect(self.share, Leaning(dice, self.correlation))


@dataclass(slots=True)
class LossEffect:
    """One stream's loss."""

    share: float
    draws: Leaning

    def apply(self, chunk: Chunk) -> Chunk:
        """The chunk, later by what its losses cost."""
        losses = 0
        while losses < LOST_IN_A_ROW_MAX and self.draws.draw() < self.share:
            losses += 1
        return replace(chunk, release_s=chunk.release_s + after_losses_s(losses))

    def lift(self, chunk: Chunk, now_s: float) -> float:
        """The next retransmission gets through."""
        return min(chunk.release_s, next_try_s(chunk.arrival_s, now_s))


def read(rule: Rule) -> Loss | None:
    """The loss a netem rule asks for, None when it asks for none. Percentages are cut to 0..100."""
    if rule.kind != "netem" or "loss" not in rule.settings:
        return None
    share, correlation = (float(rule.settings.get(word, 0.0)) / 100 for word in ("loss", "loss_corr"))
    return Loss(min(max(share, 0.0), 1.0), min(max(correlation, 0.0), 1.0))
