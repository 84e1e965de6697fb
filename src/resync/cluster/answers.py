"""The one place where foreign exceptions and HTTP answers become our errors.

A status says who is to blame and whether the request had an effect; the table below is that knowledge.
Statuses and reasons: Kubernetes API conventions, "Response Status Kind".
"""

import msgspec
import urllib3.exceptions as foreign

from resync.cluster import errors
from resync.kits.reading import read_json

TEXT_CHARS_MAX = 400


class _StatusBody(msgspec.Struct, frozen=True):
    """The part of a Kubernetes Status object that says what went wrong."""

    message: str = ""
    reason: str = ""


_BY_STATUS: dict[int, type[errors.AnswerError]] = {
    404: errors.NotFoundError,
    410: errors.GoneError,
    429: errors.ServerFailedError,
}
_BY_REASON: dict[str, type[errors.AnswerError]] = {
    "AlreadyExists": errors.AlreadyExistsError,
    "Conflict": errors.ConflictError,
    "Expired": errors.GoneError,
}
_CONFLICT = 409
_SERVER_SIDE = 500
_UNDECIDED = (408, 504)


def _class_for(status: int, reason: str) -> type[errors.AnswerError]:
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == _CONFLICT:
        return errors.ConflictError
    if status >= _SERVER_SIDE or status in _UNDECIDED:
        return errors.ServerFailedError
    return errors.RefusedError


def error_for(status: int, body: bytes, asked: str) -> errors.AnswerError:
    """The error that a non-success answer means; `asked` is `METHOD path`, quoted in the message."""
    try:
        said = read_json(body, _StatusBody)
    except msgspec.MsgspecError:
        said = _StatusBody(message=body[:TEXT_CHARS_MAX].decode("utf-8", "replace"))
    kind = _class_for(status, said.reason)
    words = said.message[:TEXT_CHARS_MAX] or "no message"
    return kind(
        f"the API server answered {status} {said.reason} to {asked}: {words}",
        status=status,
        reason=said.reason,
    )


_NEVER_SENT = (foreign.NewConnectionError, foreign.ConnectTimeoutError, foreign.NameResolutionError)


def error_without_answer(problem: foreign.HTTPError, asked: str, host: str) -> errors.ClusterError:
    """The error that a failed exchange means. `host` is the server's URL, without credentials."""
    cause = problem.reason if isinstance(problem, foreign.MaxRetryError) and problem.reason else problem
    if isinstance(cause, _NEVER_SENT):
        return errors.UnreachableError(
            f"no API server at {host} ({asked}): {cause}; is the lab or cluster up?"
        )
    if isinstance(cause, foreign.SSLError | foreign.ProxyError):
        return errors.UnreachableError(f"no trusted connection to {host} ({asked}): {cause}")
    return errors.NoAnswerError(f"{host} did not answer {asked}: {cause}; it may have happened")
