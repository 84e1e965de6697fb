"""When requests are sent: by schedule, whatever the answers do. Pure.

A closed loop slows down with the system it measures and so hides its worst moments (coordinated omission).
Here the send times follow from rate and seed alone. A sender that falls behind sends at once what is due, up
to `LATE_MAX_S`; what is later than that is given up and counted, so a stall of ours never becomes a flood.
"""

import random
from collections.abc import Iterator
from enum import StrEnum

LATE_MAX_S = 1.0
"""A request that could not be sent within this after its time is not sent at all."""


class Pacing(StrEnum):
    """The gaps between requests: exponential (independent callers) or all equal."""

    POISSON = "poisson"
    FIXED = "fixed"


def gaps_s(pacing: Pacing, *, rate: float, dice: random.Random) -> Iterator[float]:
    """Seconds between one send and the next, for ever, `rate` sends a second on average."""
    while True:
        yield dice.expovariate(rate) if pacing is Pacing.POISSON else 1 / rate
