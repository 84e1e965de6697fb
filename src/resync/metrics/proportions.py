"""What a share of a few trials says about the share of all: exact one-sided bounds (Clopper and Pearson).

No approximation, since the shares of interest are near 0, where those of large samples fail. With none of n
the upper bound is `1 - 0.05 ** (1 / n)`, which is the "rule of three": about 3 / n.
"""

import math
from collections.abc import Callable

CONFIDENCE = 0.95
_HALVINGS = 60
"""Of the interval from 0 to 1: as exact as a float is."""


def at_most(hits: int, trials: int) -> float:
    """The share of which one knows, at 95 %, that it is not exceeded; 1 without a trial."""
    if hits >= trials:
        return 1.0
    return _crossing(lambda share: _at_most_so_many(hits, trials, share) > 1 - CONFIDENCE)


def at_least(hits: int, trials: int) -> float:
    """The share of which one knows, at 95 %, that it is reached; 0 without a hit."""
    if hits <= 0:
        return 0.0
    return _crossing(lambda share: 1 - _at_most_so_many(hits - 1, trials, share) < 1 - CONFIDENCE)


def _crossing(below: Callable[[float], bool]) -> float:
    """Where `below` turns from True to False, between 0 and 1."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


def _at_most_so_many(hits: int, trials: int, share: float) -> float:
    """The chance of at most `hits` of `trials` when each succeeds with `share`, which is between 0 and 1.

    By logarithms: of some thousand trials the number of ways is no float any more.
    """
    won, lost = math.log(share), math.log1p(-share)
    return math.fsum(math.exp(_log_ways(trials, k) + k * won + (trials - k) * lost) for k in range(hits + 1))


def _log_ways(trials: int, hits: int) -> float:
    return math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
