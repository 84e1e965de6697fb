"""Whatever stands at the other end, the answer is a full one or a stated reason, within the deadline."""

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from resync.metrics.access import PrometheusAccess
from resync.metrics.errors import AccessError, CouldNotMeasureError, Reason
from resync.metrics.prometheus import Prometheus

pytestmark = pytest.mark.integration

Answer = Callable[[BaseHTTPRequestHandler], None]
TRIES = 3
"""A stall can only add to what a try takes, and leave fewer attempts to it: the best one is judged."""
ONE = {"status": "success", "data": {"resultType": "scalar", "result": [1.0, "1"]}}


def answering(status: int, body: object, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        request.send_response(status)
        for key, value in headers.items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    return answer


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        seen = self.server.requests
        answer = self.server.answers[min(len(seen), len(self.server.answers) - 1)]
        seen.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        answer(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it so
        """Quiet."""


@contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    server = Server(*answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


DEADLINE_S = 5.2


def asked(url: str, *, timeout_s: float = 5.0, deadline_s: float = DEADLINE_S) -> CouldNotMeasureError:
    """Why it could not be measured: no stall is as long as the time that an answer has."""
    access = PrometheusAccess(url=url, timeout_s=timeout_s, deadline_s=deadline_s)
    with Prometheus(access) as prometheus, pytest.raises(CouldNotMeasureError) as raised:
        prometheus.ready()
    return raised.value


def asked_in_a_hurry(url: str) -> tuple[CouldNotMeasureError, float]:
    """Why it could not be measured within half a second, and after how many seconds it said so."""
    began = time.monotonic()
    problem = asked(url, timeout_s=0.3, deadline_s=0.5)
    return problem, time.monotonic() - began


def hanging(request: BaseHTTPRequestHandler) -> None:
    server = request.server
    assert isinstance(server, Server)
    server.closing.wait(10)


def dripping(request: BaseHTTPRequestHandler) -> None:
    server = request.server
    assert isinstance(server, Server)
    text = json.dumps(ONE).encode()
    request.send_response(200)
    request.send_header("Content-Length", str(len(text)))
    request.end_headers()
    for byte in text:
        if server.closing.wait(0.05):
            return
        request.wfile.write(bytes([byte]))
        request.wfile.flush()


def cut_short(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"status": "succ')


CASES: dict[str, tuple[Answer, Reason, bool]] = {
    "cut short": (cut_short, Reason.REFUSED, True),
    "500": (answering(500, "boom"), Reason.HTTP_STATUS, True),
    "503": (answering(503, {"status": "error", "error": "starting"}), Reason.HTTP_STATUS, True),
    "429": (answering(429, "slow down"), Reason.HTTP_STATUS, True),
    "401": (answering(401, "who are you"), Reason.HTTP_STATUS, False),
    "404": (answering(404, "no such page"), Reason.HTTP_STATUS, False),
    "422": (answering(422, {"status": "error", "error": "too many samples"}), Reason.BAD_QUERY, False),
    "login page": (answering(200, "<html>log in</html>"), Reason.NOT_PROMETHEUS, False),
    "redirect": (answering(302, "", Location="/login"), Reason.NOT_PROMETHEUS, False),
    "empty body": (answering(200, ""), Reason.NOT_PROMETHEUS, False),
    "status error": (answering(200, {"status": "error", "error": "bad"}), Reason.BAD_QUERY, False),
    "no data": (answering(200, {"status": "success"}), Reason.NOT_PROMETHEUS, False),
    "other json": (answering(200, {"ok": True}), Reason.NOT_PROMETHEUS, False),
    "warnings": (answering(200, {**ONE, "warnings": ["store gateway unavailable"]}), Reason.PARTIAL, False),
    "wrong shape": (
        answering(200, {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}}]}}),
        Reason.SHAPE,
        False,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_answer_that_is_not_full_is_a_stated_reason(name: str) -> None:
    answer, reason, retryable = CASES[name]
    began = time.monotonic()
    with serving(answer) as server:
        problem = asked(server.url)
    assert (problem.reason, problem.retryable) == (reason, retryable)
    assert time.monotonic() - began < DEADLINE_S + 1.0, "one question has one deadline"


@pytest.mark.parametrize("answer", [hanging, dripping])
def test_an_answer_that_takes_too_long_is_given_up_at_the_deadline(answer: Answer) -> None:
    with serving(answer) as server:
        tries = [asked_in_a_hurry(server.url) for _ in range(TRIES)]
    assert {(problem.reason, problem.retryable) for problem, _ in tries} == {(Reason.TIMEOUT, True)}
    assert min(took_s for _, took_s in tries) < 1.0, "one question has one deadline"


def test_nobody_there_is_refused_within_the_deadline() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tries = [asked_in_a_hurry(f"http://127.0.0.1:{port}") for _ in range(TRIES)]
    assert {problem.reason for problem, _ in tries} == {Reason.REFUSED}
    assert min(took_s for _, took_s in tries) < 1.0


def test_what_may_pass_is_asked_again_and_then_answers() -> None:
    with serving(answering(503, "starting"), answering(500, "boom"), answering(200, ONE)) as server:
        with Prometheus(PrometheusAccess(url=server.url)) as prometheus:
            prometheus.ready()
        assert len(server.requests) == 3


def test_what_cannot_change_is_asked_once() -> None:
    with serving(answering(401, "who are you")) as server:
        asked(server.url, timeout_s=2.0, deadline_s=6.0)
        assert len(server.requests) == 1


def test_the_number_of_attempts_is_bounded_by_the_deadline() -> None:
    attempts = []
    for _ in range(TRIES):
        with serving(answering(503, "never")) as server:
            asked(server.url, timeout_s=2.0, deadline_s=2.5)
            attempts.append(len(server.requests))
    assert 2 <= max(attempts) <= 4, attempts


@pytest.mark.parametrize("suffix", ["", "/", "/prometheus", "/prometheus/"])
def test_prefix_and_trailing_slash(suffix: str) -> None:
    with serving(answering(200, ONE)) as server:
        with Prometheus(PrometheusAccess(url=server.url + suffix)) as prometheus:
            prometheus.ready()
        assert server.requests[0][0].startswith(f"{suffix.rstrip('/')}/api/v1/query?")


def test_credentials_and_tenant_arrive() -> None:
    with serving(answering(200, ONE)) as server:
        tokened = PrometheusAccess(
            url=server.url, bearer_token="t0ken", tenant="team-a", headers={"X-Extra": "1"}
        )
        named = PrometheusAccess(url=server.url, username="me", password="secret")
        for access in (tokened, named):
            with Prometheus(access) as prometheus:
                prometheus.ready()
        (_, first), (_, second) = server.requests
    assert first["authorization"] == "Bearer t0ken"
    assert first["x-scope-orgid"] == "team-a"
    assert first["x-extra"] == "1"
    assert second["authorization"] == "Basic bWU6c2VjcmV0"


def test_netrc_and_proxies_of_the_user_stay_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(answering(200, ONE)) as server:
        with Prometheus(PrometheusAccess(url=server.url, bearer_token="t0ken")) as prometheus:
            prometheus.ready()
        assert server.requests[0][1]["authorization"] == "Bearer t0ken"


def test_the_server_is_told_our_limit_and_the_time_to_the_millisecond() -> None:
    value = {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "2"]}]},
    }
    with serving(answering(200, value)) as server:
        with Prometheus(PrometheusAccess(url=server.url, timeout_s=1.5)) as prometheus:
            assert prometheus.value("up", 1700000000.4567) == 2.0
        path = server.requests[0][0]
    assert "timeout=1500ms" in path
    assert "time=1700000000.457" in path


@pytest.fixture
def tls_files(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return cert, key


def serving_tls(files: tuple[Path, Path]) -> AbstractContextManager[str]:
    @contextmanager
    def run() -> Iterator[str]:
        with serving(answering(200, ONE)) as server:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            yield server.url.replace("http:", "https:")

    return run()


def test_an_own_authority_is_trusted_when_named_and_only_then(tls_files: tuple[Path, Path]) -> None:
    with serving_tls(tls_files) as url:
        with Prometheus(PrometheusAccess(url=url, ca_file=tls_files[0])) as prometheus:
            prometheus.ready()
        assert asked(url).reason is Reason.TLS


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "localhost:9090"}, "is not the URL"),
        ({"url": "ftp://host"}, "is not the URL"),
        ({"url": "http://me:secret@host"}, "do not belong in the URL"),
        ({"url": "http://host/?x=1"}, "base URL"),
        ({"url": "http://host", "bearer_token": "t", "username": "u", "password": "p"}, "exclude"),
        ({"url": "http://host", "username": "u"}, "belong together"),
        ({"url": "http://host", "ca_file": Path("/nowhere/ca.pem")}, "no CA file"),
        ({"url": "http://host", "timeout_s": 7.0}, "within 6 s"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(AccessError, match=words) as raised:
        PrometheusAccess(**settings)  # type: ignore[arg-type]
    assert "secret" not in str(raised.value)


def test_secrets_are_not_shown() -> None:
    access = PrometheusAccess(url="http://host", bearer_token="t0ken", headers={"Cookie": "s3cret"})
    assert "t0ken" not in repr(access)
    assert "s3cret" not in f"{access}"
