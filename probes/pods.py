"""Do the engines run?"""

from resync.run.activities import engines_running, step
from resync.run.judgements import Outcome

__all__ = ["all_engines_running"]


def all_engines_running(run_id: str) -> bool:
    """Whether every engine is Running and Ready, and none was restarted or replaced since the run began.

    Raises RunError without a run or when the API server does not answer.
    """
    return bool(step(run_id, "pods", lambda run: float(engines_running(run).outcome is Outcome.HELD)))
