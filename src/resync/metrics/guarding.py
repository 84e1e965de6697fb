"""The session through which prometheus-api-client speaks: an answer that is not full is refused here.

The client by itself waits for ever, repeats a question four times behind one's back, drops the server's
warnings (a partial answer then looks complete), and tells a login page from an outage by a KeyError (measured
with 0.7.2). It accepts a session, so this is where it is made safe: one attempt per question, a limit on the
whole answer and not only on each read, no proxy for a loopback address, no ~/.netrc, and an answer that is
checked before the client sees it.
"""

import io
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import requests
import urllib3
from requests import auth

from resync.kits.reading import read_json
from resync.metrics.access import PrometheusAccess
from resync.metrics.errors import CouldNotMeasureError, Reason

BODY_BYTES_MAX = 256 << 20
SHOWN_BYTES = 160
RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})
BAD_QUERY_STATUS = frozenset({400, 422})
_OK = 200


class _Envelope(msgspec.Struct, frozen=True):
    status: str
    error: str = ""
    warnings: tuple[str, ...] = ()


class _Bearer(auth.AuthBase):
    """A token in the header, given as auth so that ~/.netrc cannot replace it."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _innermost(problem: BaseException) -> BaseException:
    """What the layers of clients have wrapped: the kernel's own word."""
    inner = problem.__cause__ or problem.__context__
    return problem if inner is None else _innermost(inner)


class GuardedSession(requests.Session):
    """A requests session whose answers are complete Prometheus answers, or CouldNotMeasureError."""

    def __init__(self, access: PrometheusAccess) -> None:
        super().__init__()
        self._shown = access.shown
        self._timeout_s = access.timeout_s
        self.trust_env = not access.loopback
        self.max_redirects = 0
        self.verify = str(access.ca_file) if access.ca_file else True
        self.credentials: auth.AuthBase | tuple[str, str] = (
            (access.username, access.password)
            if access.username is not None and access.password is not None
            else _Bearer(access.bearer_token)
        )

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """One attempt. Raises CouldNotMeasureError."""
        deadline = time.monotonic() + self._timeout_s
        # `total` makes connecting and waiting share the limit; requests hands the object on to urllib3.
        kwargs.update(stream=True, timeout=urllib3.Timeout(total=self._timeout_s))
        try:
            response = super().send(request, **kwargs)
            body = b"".join(self._chunks(response, deadline))
        except requests.exceptions.SSLError as problem:
            raise self._unmeasured(f"the certificate is not trusted: {problem}", Reason.TLS) from problem
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as problem:
            if _timed_out(problem):
                words = f"no answer within {self._timeout_s:g} s"
                raise self._unmeasured(words, Reason.TIMEOUT) from problem
            raise self._unmeasured(
                f"Prometheus takes no connection ({_innermost(problem)})", Reason.REFUSED
            ) from problem
        except requests.TooManyRedirects as problem:
            words = "it redirects elsewhere (to a login?): give the final URL and credentials"
            raise self._unmeasured(words, Reason.NOT_PROMETHEUS) from problem
        except requests.RequestException as problem:
            raise self._unmeasured(str(problem), Reason.NOT_PROMETHEUS) from problem
        self._check(response, body)
        response.raw = io.BytesIO(body)
        return response

    def _unmeasured(
        self, words: str, reason: Reason, *, status: int | None = None, retryable: bool | None = None
    ) -> CouldNotMeasureError:
        return CouldNotMeasureError(
            f"{self._shown}: {words}", reason=reason, status=status, retryable=retryable
        )

    def _chunks(self, response: requests.Response, deadline: float) -> Iterator[bytes]:
        """The body as it arrives; a server that drips is cut off at the deadline of the whole attempt."""
        size = 0
        while chunk := response.raw.read1(1 << 16, decode_content=True):
            size += len(chunk)
            if size > BODY_BYTES_MAX:
                raise self._unmeasured(f"the answer passes {BODY_BYTES_MAX} bytes", Reason.SHAPE)
            if time.monotonic() > deadline:
                response.close()
                raise self._unmeasured(f"no complete answer within {self._timeout_s:g} s", Reason.TIMEOUT)
            yield chunk

    def _check(self, response: requests.Response, body: bytes) -> None:
        status = response.status_code
        envelope = _envelope(body)
        words = envelope.error if envelope else repr(body[:SHOWN_BYTES])
        if status != _OK:
            reason = Reason.BAD_QUERY if status in BAD_QUERY_STATUS and envelope else Reason.HTTP_STATUS
            retryable = status in RETRYABLE_STATUS
            raise self._unmeasured(f"HTTP {status}: {words}", reason, status=status, retryable=retryable)
        if envelope is None:
            raise self._unmeasured(f"not a Prometheus API: {words}", Reason.NOT_PROMETHEUS, status=status)
        if envelope.status != "success":
            raise self._unmeasured(f"the query failed: {words}", Reason.BAD_QUERY, status=status)
        if envelope.warnings:
            said = "; ".join(envelope.warnings)
            raise self._unmeasured(f"a partial answer: {said}", Reason.PARTIAL, status=status)


def _timed_out(problem: Exception) -> bool:
    """Whether a limit was passed; requests reports that as a failed connection once retries are used up."""
    wrapped = problem.args[0] if problem.args else None
    cause = wrapped.reason if isinstance(wrapped, urllib3.exceptions.MaxRetryError) else problem
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        return False  # derives from a time-out for historical reasons, and means refused
    return isinstance(cause, requests.Timeout | urllib3.exceptions.TimeoutError)


def _envelope(body: bytes) -> _Envelope | None:
    try:
        return read_json(body, _Envelope)
    except msgspec.MsgspecError:
        return None
