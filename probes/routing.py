"""Does the router use what the index knows?"""

from typing import Literal

from resync.run.activities import judged

__all__ = ["lost_requests", "routed_share"]


def routed_share(run_id: str, window: Literal["steady", "fault"] = "steady") -> float:
    """The share of prefix hits that were routed, of those that truth allowed when the request was sent.

    0 to 1.

    Absolute: not compared with an earlier share of the same run. Raises RunError without a run, or below the
    floor of hits.
    """
    return judged(run_id, "routed-hits", "fault" if window == "fault" else None)


def lost_requests(run_id: str) -> float:
    """Requests that failed through the gateway after it must have known that an engine is gone; 0 is right.

    Those under way when it went, and what clients sent straight to it, are not among them. Raises RunError
    without a run or requests.
    """
    return judged(run_id, "avoided", "fault")
