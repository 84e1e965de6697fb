"""What can go wrong in the observer, and whose fault it is.

ObserverError
 |- BadSettingError        whoever started the process: a wrong flag; nothing was started
 +- CutError               one cut could not be taken; `reason` labels resync_observer_failures_total.
                           Nothing was measured, so nothing is exported: the next cut tries again
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a cut could not be taken."""

    NO_ENGINE = "no_engine"
    GATEWAY_UNREACHABLE = "gateway_unreachable"
    GATEWAY_NO_INDEX_VIEW = "gateway_no_index_view"
    GATEWAY_UNREADABLE = "gateway_unreadable"
    TRUTH_UNREACHABLE = "truth_unreachable"
    TRUTH_UNREADABLE = "truth_unreadable"
    TRUTH_TOO_OLD = "truth_too_old"
    TRUTH_AHEAD = "truth_ahead"
    AWAITING_SUBSCRIPTION = "awaiting_subscription"
    AWAITING_REMOVAL = "awaiting_removal"
    SEVERAL_RANKS = "several_ranks"
    CONTROL_NOT_SCRAPED = "control_not_scraped"


class ObserverError(Exception):
    """Anything the observer says in one sentence."""


class BadSettingError(ObserverError):
    """A flag makes no sense; nothing was started."""


class CutError(ObserverError):
    """One cut could not be taken; nothing was measured and nothing is exported for it."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
