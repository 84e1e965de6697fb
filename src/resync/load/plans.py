"""Which request comes next: a pure, seeded sequence. Time enters only as when a request is due.

What bypasses the gateway goes to the engines in turn. An engine that is cut off from the gateway has nothing
else to publish; left to the dice, one in two hundred windows of 5 s would hold at most one such request.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from resync.load.families import Families, filler
from resync.load.options import Options
from resync.load.pacing import gaps_s


@dataclass(frozen=True, slots=True)
class Planned:
    """One request: when it is due (seconds after the start), what it asks, and by which way."""

    due_s: float
    prompt: list[int]
    engine: str | None
    """Base URL of the engine it goes straight to; None: through the gateway."""
    audited: bool


def planned(options: Options) -> Iterator[Planned]:
    """All requests of a load, for ever. One seed is one sequence, whatever becomes of the requests."""
    dice = random.Random(options.seed)
    families = Families(options.shape, dice)
    turns = itertools.cycle(options.engines)
    due_s, renewal_s = 0.0, 1 / options.renewals
    for gap_s in gaps_s(options.pacing, rate=options.rate, dice=dice):
        due_s += gap_s
        while due_s >= renewal_s:
            families.renew()
            renewal_s += 1 / options.renewals
        prompt = families.prompt() if _shares(options, dice) else _alone(options, dice)
        engine = next(turns) if options.engines and dice.random() < options.bypass_share else None
        audited = bool(options.engines) and engine is None and dice.random() < options.audit_share
        yield Planned(due_s, prompt, engine, audited)


def _shares(options: Options, dice: random.Random) -> bool:
    return options.prefix_share >= 1 or dice.random() < options.prefix_share


def _alone(options: Options, dice: random.Random) -> list[int]:
    blocks = dice.randint(options.shape.prefix_min, options.shape.prefix_max)
    return filler(blocks, options.shape.block_size, dice)
