"""Does the router use what the index knows?"""

from typing import Literal

from resync.run.activities import judged

__all__ = ["routed_share"]


def routed_share(run_id: str, window: Literal["steady", "fault"] = "steady") -> float:
    """The share of prefix hits that were routed, of those that truth allowed when the request was sent.

    0 to 1.

    Absolute: not compared with an earlier share of the same run. Raises RunError without a run, or below the
    floor of hits.
    """
    return judged(run_id, "routed-hits", "fault" if window == "fault" else None)
