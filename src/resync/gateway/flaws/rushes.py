"""An admission that cannot cope with a rush, and what counts as one.

Numbers are of the lab: three engines under its usual load publish 30 to 45 batches a second, under the surge
of the experiment twice as many and more.
"""

from resync.gateway.flaws.onsets import Onset
from resync.gateway.parts import Admission

RUSH_PER_S = 75
CALM_S = 3
RUSH_S = 2
"""One full second may be the work of a machine that stood still in the one before."""


class LostInARush(Admission):
    """From the first rush on, applies no more than so many batches a second and drops the others.

    A rush is known by the calm before it: what a gateway catches up with at its start is none.
    """

    def __init__(self, onset: Onset) -> None:
        self._onset = onset
        self._second, self._count = int(onset.clock.monotonic_s()), 0
        self._calm_s = self._rush_s = 0

    def may_apply(self) -> bool:
        """False for what is beyond."""
        second = int(self._onset.clock.monotonic_s())
        if second != self._second:
            self._look_back()
            self._second, self._count = second, 0
        self._count += 1
        return not self._onset.has_come() or self._count <= RUSH_PER_S

    def _look_back(self) -> None:
        """What the second that is over was: calm, or, once it has been calm, part of a rush."""
        calm = self._count <= RUSH_PER_S
        if self._calm_s < CALM_S:
            self._calm_s = self._calm_s + 1 if calm and self._count else 0
            return
        self._rush_s = 0 if calm else self._rush_s + 1
        if self._rush_s >= RUSH_S:
            self._onset.begin()
