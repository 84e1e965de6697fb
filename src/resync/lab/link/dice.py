"""Seeded chance: every connection and every direction gets dice of its own, grown from the link's seed."""

from dataclasses import dataclass
from random import Random


def seeded(seed: int) -> Random:
    """Dice that always fall the same way for the same seed."""
    return Random(seed)


def branch(dice: Random) -> Random:
    """New dice that depend only on how often `dice` was branched before."""
    return seeded(dice.getrandbits(64))


@dataclass(slots=True)
class Leaning:
    """Draws from [0, 1), each leaning on the one before by `correlation` (0..1).

    Linux `net/sched/sch_netem.c`, `get_crandom`.
    """

    dice: Random
    correlation: float
    last: float = 0.5

    def draw(self) -> float:
        """The next one."""
        self.last = self.last * self.correlation + self.dice.random() * (1 - self.correlation)
        return self.last
