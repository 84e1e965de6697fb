"""The server as a process: who may talk to it, when it ends, and what it keeps when nobody reads."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import yaml

from resync.kits.waits import wait_until
from resync.lab.api.process import ApiProcess, start_api

pytestmark = pytest.mark.integration


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ApiProcess]:
    """A server of the test's own."""
    with start_api(tmp_path) as process:
        yield process


def _token(process: ApiProcess) -> str:
    return str(yaml.safe_load(process.kubeconfig.read_text())["users"][0]["user"]["token"])


def _ask(
    process: ApiProcess,
    path: str,
    *,
    token: str = "",
    method: str = "GET",
    body: bytes = b"",
    media: str = "",
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if media:
        headers["Content-Type"] = media
    connection = http.client.HTTPConnection(process.server.removeprefix("http://"), timeout=10)
    connection.request(method, path, body=body or None, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_nobody_else_on_the_machine_gets_in(own: ApiProcess) -> None:
    assert stat.S_IMODE(own.kubeconfig.stat().st_mode) == 0o600
    assert stat.S_IMODE((own.kubeconfig.parent / "api.token").stat().st_mode) == 0o600
    for path in ("/api/v1/pods", "/version", "/healthz", "/wrong/api/v1/pods", "/"):
        code, body = _ask(own, path)
        assert (code, json.loads(body)["reason"]) == (401, "Unauthorized")
    assert _ask(own, "/api/v1/pods", token="wrong")[0] == 401
    assert _ask(own, "/api/v1/pods", token=_token(own))[0] == 200
    assert _ask(own, f"/{_token(own)}/api/v1/pods")[0] == 200


@pytest.mark.parametrize(
    ("request_line", "body", "media", "code"),
    [
        ("GET /api/v1/nothings", b"", "", 404),
        ("GET /apis/none.org/v1/things", b"", "", 404),
        ("GET /api/v1/namespaces/default/pods/none", b"", "", 404),
        ("GET /api/v1/pods?resourceVersion=x", b"", "", 400),
        ("GET /api/v1/pods?resourceVersion=999999", b"", "", 504),
        ("POST /api/v1/pods", b"{}", "", 405),
        ("POST /api/v1/namespaces/default/pods", b"{", "", 400),
        ("POST /api/v1/namespaces/default/pods", b"[]", "", 400),
        ("POST /api/v1/namespaces/default/pods", b'{"metadata": 1}', "", 400),
        ("POST /api/v1/namespaces/default/pods", b"{}", "", 422),
        ("POST /api/v1/namespaces/default/pods", b"k8s\0", "application/vnd.kubernetes.protobuf", 415),
        ("POST /api/v1/namespaces/default/pods?dryRun=Some", b"{}", "", 400),
        ("PATCH /api/v1/namespaces/default", b"{}", "text/plain", 415),
        ("PUT /api/v1/namespaces/default", b'{"metadata": {"name": "other"}}', "", 400),
        ("OPTIONS /api/v1/pods", b"", "", 405),
        ("POST /version", b"{}", "", 405),
        ("POST /api/v1/namespaces", b'{"x": "' + b"y" * 4 * 1024 * 1024 + b'"}', "", 413),
    ],
)
def test_a_wrong_request_gets_its_status(
    api_process: ApiProcess, request_line: str, body: bytes, media: str, code: int
) -> None:
    method, path = request_line.split(" ")
    found, answer = _ask(api_process, path, token=_token(api_process), method=method, body=body, media=media)
    assert found == code, answer
    status = json.loads(answer)
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", code)


def test_it_ends_in_good_time_with_watches_open(tmp_path: Path) -> None:
    took_s = []
    for start in range(3):
        with start_api(tmp_path / str(start)) as own, _watching(own, "/api/v1/pods?watch=1"):
            began = time.monotonic()
            own.stop()
            took_s.append(time.monotonic() - began)
        assert own._process.returncode == 0
    assert min(took_s) < 2.0, "a stall can only add to it"


def test_a_watcher_that_went_away_is_no_error_of_the_server(tmp_path: Path) -> None:
    with start_api(tmp_path) as own:
        for path in (
            "/api/v1/pods?watch=1",
            "/api/v1/pods?watch=1&timeoutSeconds=1&allowWatchBookmarks=true",
        ):
            with _watching(own, path):
                pass
        # An answer that was asked for after they went: the server has seen them go.
        assert _ask(own, "/api/v1/namespaces?watch=1&timeoutSeconds=1", token=_token(own))[0] == 200
    assert "Traceback" not in own.log.read_text()


def test_it_ends_with_its_owner_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import signal, sys; from pathlib import Path; from resync.lab.api.process import start_api\n"
        "print(start_api(Path(sys.argv[1])).pid, flush=True); signal.pause()"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    wait_until(lambda: not _runs(pid), what="the server to end with its owner", timeout_s=5)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "words", [["--host", "0.0.0.0"], ["--host", "nonsense"], ["--port", "x"], ["--owner-pid", "4194304"]]
)
def test_a_wrong_argument_is_one_sentence_and_2(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "resync.lab.api", *words],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


class _watching:  # noqa: N801 - reads as a verb at its uses
    """An open watch as a raw socket, which reads only when told to."""

    def __init__(self, process: ApiProcess, path: str) -> None:
        host, _, port = process.server.removeprefix("http://").partition(":")
        self.reset = False
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(20)
        self.socket.connect((host, int(port)))
        head = f"Host: x\r\nConnection: close\r\nAuthorization: Bearer {_token(process)}\r\n\r\n"
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{head}".encode())
        assert self.socket.recv(200).startswith(b"HTTP/1.1 200")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def rest(self) -> bytes:
        parts = []
        try:
            while part := self.socket.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            self.reset = True
        return b"".join(parts)


def test_a_watcher_that_does_not_read_is_cut_off_and_costs_a_bounded_memory(own: ApiProcess) -> None:
    token, path = _token(own), "/api/v1/namespaces/default/configmaps"
    body = {"metadata": {"name": "c"}, "data": {"text": "x" * 20_000}}
    assert _ask(own, path, token=token, method="POST", body=json.dumps(body).encode())[0] == 201
    with _watching(own, f"{path}?watch=1&timeoutSeconds=60") as slow:
        for number in range(2_500):
            patch = json.dumps({"data": {"n": str(number)}}).encode()
            _ask(
                own,
                f"{path}/c",
                token=token,
                method="PATCH",
                body=patch,
                media="application/merge-patch+json",
            )
        assert _rss_mb(own.pid) < 250
        received = slow.rest()
    assert len(received) < 2_500 * 20_000
    cut_off = slow.reset or not received.endswith(b"\r\n0\r\n\r\n")
    assert cut_off or b'"code":410' in received[-1_000:]


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_bookmarks_mark_the_end_of_what_was_there(own: ApiProcess) -> None:
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    code, body = _ask(own, f"/api/v1/namespaces?{query}&timeoutSeconds=1", token=_token(own))
    events = [json.loads(line) for line in body.splitlines()]
    assert code == 200
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK", "BOOKMARK"]
    assert events[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_watch_from_a_version_that_is_gone_says_so_in_the_stream(own: ApiProcess) -> None:
    code, body = _ask(own, "/api/v1/pods?watch=1&resourceVersion=999999", token=_token(own))
    event = json.loads(body)
    assert (code, event["type"], event["object"]["code"]) == (200, "ERROR", 410)
