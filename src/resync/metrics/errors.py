"""The one thing that can go wrong with a measurement: there is none.

Every way in which Prometheus may fail to give a full answer is the same error with another `reason`, because
the consequence is the same: no claim may be judged by it. It is never "0", never "empty is fine", never
False.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why nothing was measured."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    TLS = "tls"
    HTTP_STATUS = "http-status"
    BAD_QUERY = "bad-query"
    NOT_PROMETHEUS = "not-prometheus"
    PARTIAL = "partial"
    EMPTY = "empty"
    TOO_FEW = "too-few-series"
    TOO_MANY = "too-many-series"
    NAN = "nan"
    STALE = "stale"
    COVERAGE = "coverage"
    NO_OBSERVATIONS = "no-observations"
    SHAPE = "unexpected-shape"


_RETRYABLE = frozenset({Reason.REFUSED, Reason.TIMEOUT})


class MetricsError(Exception):
    """Anything this package raises."""


class AccessError(MetricsError):
    """The settings by which Prometheus is to be reached cannot be right.

    The user's to correct; nothing was asked.
    """


class CouldNotMeasureError(MetricsError):
    """No full answer. `reason` says why, `status` is the HTTP status where there was one.

    `retryable`: the same question may be answered later without anybody changing anything.
    """

    def __init__(
        self, message: str, *, reason: Reason, status: int | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(f"could not measure: {message}")
        self.reason = reason
        self.status = status
        self.retryable = reason in _RETRYABLE if retryable is None else retryable
