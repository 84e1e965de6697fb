"""Seeded chance: every connection and every direction gets dice of its own, grown from the link's seed."""

from random import Random


def seeded(seed: int) -> Random:
    """Dice that always fall the same way for the same seed."""
    return Random(seed)


def branch(dice: Random) -> Random:
    """New dice that depend only on how often `dice` was branched before."""
    return seeded(dice.getrandbits(64))
