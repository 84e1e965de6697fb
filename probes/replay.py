"""Were the sequence gaps closed?"""

from resync.run.activities import judged

__all__ = ["unrepaired_gaps"]


def unrepaired_gaps(run_id: str) -> float:
    """Gaps seen since the fault was injected and never closed; the worst engine.

    A gap is closed by a complete replay, or by a purge that says so. Call it after
    `probes.recovery.converged_s`, which takes the samples. Raises RunError without a run or samples.
    """
    return judged(run_id, "gaps", "recovery")
