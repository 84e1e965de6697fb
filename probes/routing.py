"""Does the router use what the index knows?"""

from typing import Literal

from resync.run import auditing
from resync.run.activities import judged, step
from resync.run.runs import measured_value

__all__ = ["audited_misses", "lost_requests", "routed_share"]


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


def audited_misses(run_id: str) -> float:
    """The share of prompts held by one engine that the gateway did not route there, 0 to 1.

    A black-box audit after the fault: an engine is warmed behind the gateway's back, then the gateway is
    asked (`target-pod` and `cached_tokens` of its answer). Nothing else is asked of the gateway, so it serves
    for one that has neither index view nor metrics. Costs `audit_prompts` short prompts, at most three times.
    Raises RunError without a run, when nobody can be asked, and when too few prompts were held to tell.
    """
    return step(run_id, "routing-audit", lambda run: measured_value(auditing.audit(run, "after")))
