"""Does the fault bite, all along?"""

from resync.run import faulting
from resync.run.activities import step

__all__ = ["watched_s"]


def watched_s(run_id: str) -> float:
    """Look at the fault's effect, four times a second, until a guard time before its expiry.

    The seconds proven. Raises RunError as soon as a target shows that it is gone, or when nothing could be
    seen for too long.
    """
    return step(run_id, "watch", faulting.watch)
