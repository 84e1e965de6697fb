"""Is the gateway's index right, and how late is it?

In a hypothesis these judge the steady state: the samples before the fault, then those after it. With
`window="fault"` they judge the window in which the fault was proven. Each returns a finite number in the unit
of its name and raises when it could not be measured; nothing here asks for a rate.
"""

from typing import Literal

from resync.run.activities import judged
from resync.run.observations import Phase

__all__ = ["divergent_blocks", "event_age_p99_ms", "staleness_s"]

Window = Literal["steady", "fault", "recovery"]
_PHASES: dict[Window, Phase | None] = {"steady": None, "fault": "fault", "recovery": "recovery"}


def divergent_blocks(run_id: str, window: Window = "steady") -> float:
    """The most blocks that were wrong at one cut (missing, phantom, misattributed, mis-hashed); 0 is right.

    Raises RunError without a run, or when the audit was partial, stale or idle.
    """
    return judged(run_id, "divergence", _PHASES[window])


def event_age_p99_ms(run_id: str, window: Window = "steady") -> float:
    """The 99th percentile of the age of events when they were applied, milliseconds, an upper bound.

    The worst engine.

    Raises RunError without a run, or when no event was applied.
    """
    return judged(run_id, "event-age", _PHASES[window])


def staleness_s(run_id: str, window: Window = "steady") -> float:
    """The age of the oldest batch not yet applied, seconds, at its worst, over all engines.

    Raises RunError without a run or without samples.
    """
    return judged(run_id, "staleness", _PHASES[window])
