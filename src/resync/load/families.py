"""Prompts with a known prefix structure. Pure: a seed and a number of draws give the same prompts everywhere.

A prefix index is exercised by prompts that share prefixes, and its *upkeep* by prefixes that come and go. So
there is a window of families. Each has a prefix of its own; a request is the prefix of one family plus a tail
nobody has sent before. Some families are asked for often, some seldom (weights fall with age, as attention
does); now and then the oldest retires and a new one is born. What a retired family left behind grows old in
the engines and is evicted.

Tails never end on a block boundary. A prompt that is an exact multiple of the block size makes the engine
recompute its last block into a second copy: that is what the share of bare prompts is for, a family's prefix
with nothing behind it.
"""

import random
from collections import deque
from dataclasses import dataclass

VOCABULARY = 32_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large everything is, in blocks unless said."""

    block_size: int = 16
    prefix_min: int = 6
    prefix_max: int = 10
    tail_min: int = 2
    tail_max: int = 3
    window: int = 24
    """Families alive at once."""
    bare_share: float = 0.0
    """Of the prompts that are a family's: those without a tail, an exact multiple of the block size."""
    skew: float = 0.6
    """0: all families alike; 1: the n-th youngest is asked for 1/n as often as the youngest (Zipf)."""


class Families:
    """The window of living families, and the prompts drawn from it."""

    def __init__(self, shape: Shape, dice: random.Random) -> None:
        self._shape = shape
        self._dice = dice
        self._weights = [(rank + 1) ** -shape.skew for rank in range(shape.window)]
        self._prefixes: deque[list[int]] = deque(maxlen=shape.window)
        self.born_total = 0
        for _ in range(shape.window):
            self.renew()

    def renew(self) -> None:
        """The oldest family retires, a new one is born."""
        blocks = self._dice.randint(self._shape.prefix_min, self._shape.prefix_max)
        self._prefixes.appendleft(self._tokens(blocks * self._shape.block_size))
        self.born_total += 1

    def prompt(self) -> list[int]:
        """Token ids of the next prompt: a family's prefix and, unless it is bare, a tail of its own."""
        (prefix,) = self._dice.choices(self._prefixes, self._weights)
        shape = self._shape
        if shape.bare_share and self._dice.random() < shape.bare_share:
            return list(prefix)
        blocks = self._dice.randint(shape.tail_min, shape.tail_max)
        rest = self._dice.randint(1, shape.block_size - 1) if shape.block_size > 1 else 0
        return prefix + self._tokens(blocks * shape.block_size + rest)

    def _tokens(self, count: int) -> list[int]:
        return self._dice.choices(range(VOCABULARY), k=count)


def filler(blocks: int, block_size: int, dice: random.Random) -> list[int]:
    """A prompt that shares nothing with any other, to fill an engine's pool."""
    return dice.choices(range(VOCABULARY), k=blocks * block_size + 1)
