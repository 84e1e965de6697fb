"""Is everything right and complete again after the fault, and when was it?"""

from resync.run import recovering
from resync.run.activities import judged, step
from resync.run.runs import Run

__all__ = ["converged_s", "returned_s"]


def converged_s(run_id: str) -> float:
    """Seconds from the end of the fault until every engine's index was right and complete, at the latest.

    Waits for it, at most as long as `convergence_limit` allows; an engine that has not converged by then
    counts with that limit, and its claim is breached. Raises RunError without a run, without a healed fault,
    or when nothing could be measured.
    """
    step(run_id, "recovery", _settled)
    return judged(run_id, "converged", "recovery")


def returned_s(run_id: str) -> float:
    """Seconds between the last answer of the process that was killed and the first of another; the worst pod.

    Call it after `converged_s`, which takes the samples. Raises RunError without a run or samples.
    """
    return judged(run_id, "returned", "recovery")


def _settled(run: Run) -> float:
    recovering.settle(run)
    return 0.0
