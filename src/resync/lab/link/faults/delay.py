"""netem's delay: every chunk leaves `time` after it came in, give or take `jitter`.

The jitter is uniform over [-jitter, +jitter] and may lean on the previous draw (`delay_corr`, percent), as
in Linux `net/sched/sch_netem.c` (`tabledist`, `get_crandom`). netem lets jitter reorder packets; a TCP
receiver puts them back in order, so a stream sees what the lane does: a chunk never overtakes the one
before it.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from resync.lab.link.chunks import Chunk
from resync.lab.link.dice import Leaning
from resync.lab.link.rules import Rule

SETTINGS: Final = {"netem": frozenset({"time", "jitter", "delay_corr"})}
_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay of `delay_s` seconds, +- `jitter_s`, each draw leaning on the last by `correlation` (0..1)."""

    delay_s: float
    jitter_s: float = 0.0
    correlation: float = 0.0

    def begin(self, dice: Random) -> "DelayEffect":
        """The delay on one stream."""
        return DelayEffect(self, Leaning(dice, self.correlation))


@dataclass(slots=True)
class DelayEffect:
    """One stream's delay."""

    fault: Delay
    draws: Leaning

    def apply(self, chunk: Chunk) -> Chunk:
        """The chunk, later."""
        return replace(chunk, release_s=chunk.release_s + max(0.0, self.fault.delay_s + self._jitter_s()))

    def lift(self, chunk: Chunk, _: float) -> float:
        """What is on the wire stays there."""
        return chunk.release_s

    def _jitter_s(self) -> float:
        if not self.fault.jitter_s:
            return 0.0
        return self.fault.jitter_s * (2 * self.draws.draw() - 1)


def read(rule: Rule) -> Delay | None:
    """The delay a netem rule asks for, None when it asks for none.

    Raises ValueError for a time it cannot read.
    """
    if rule.kind != "netem" or "time" not in rule.settings:
        return None
    correlation = float(rule.settings.get("delay_corr", 0.0)) / 100
    return Delay(
        _seconds(str(rule.settings["time"])),
        _seconds(str(rule.settings.get("jitter", "0ms"))),
        min(max(correlation, 0.0), 1.0),
    )


def _seconds(text: str) -> float:
    """Seconds of `50ms`. Minutes and hours are refused: tc(8) does not know them (chaos-mesh issue 4392)."""
    number = text.rstrip("nums")
    unit = _UNITS_S.get(text[len(number) :])
    if unit is None:
        raise ValueError(f"a netem time must be a number and one of ns, us, ms, s, got {text!r}")
    return float(number) * unit
