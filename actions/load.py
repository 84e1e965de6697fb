"""More load for a while, sent by the load that runs beside the system."""

from resync.run import faulting
from resync.run.activities import step
from resync.run.runs import Run

__all__ = ["calm", "surge"]


def surge(run_id: str) -> bool:
    """Begin a surge and wait until the load asks for all of it; it ends by itself.

    Rate, prefix share and duration are those of the run's settings. True once it is under way. Raises
    RunError when there is no load, or when it is in a surge already.
    """
    return bool(step(run_id, "surge", _begun))


def _begun(run: Run) -> float:
    faulting.inject(run, "surge")
    return 1.0


def calm(run_id: str) -> float:
    """End the run's surge and wait until the load is as before; the seconds that took.

    0 when there is nothing to end, so it serves as a rollback too. Raises RunError when the load does not
    answer; the surge then ends by itself.
    """
    return step(run_id, "calm", faulting.conclude, begun=False)
