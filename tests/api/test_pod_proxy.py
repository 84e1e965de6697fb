"""Requests carried through the API to a pod, as the official client asks for them."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException

client: Any = kubernetes.client
pytestmark = pytest.mark.integration


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; a path that ends in a number is answered with that status."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length).decode()
        last = self.path.rpartition("/")[2]
        body = json.dumps({"method": self.command, "path": self.path, "body": sent}).encode()
        self.send_response(int(last) if last.isdigit() else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Told", self.headers.get("X-Said", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


def pod_at(core: Any, namespace: str, ip: str | None) -> None:
    container = client.V1Container(name="c", image="i")
    spec = client.V1PodSpec(containers=[container])
    core.create_namespaced_pod(namespace, client.V1Pod(metadata=client.V1ObjectMeta(name="a"), spec=spec))
    status = {"phase": "Running", **({"podIP": ip} if ip else {})}
    core.patch_namespaced_pod_status("a", namespace, {"status": status})


def asked(core: Any, namespace: str, method: str, port: int, path: str, **more: Any) -> dict[str, Any]:
    call = getattr(core, f"connect_{method}_namespaced_pod_proxy_with_path")
    answer = call(f"a:{port}", namespace, path, _preload_content=False, **more)
    found: dict[str, Any] = json.loads(answer.data)
    return found


@pytest.mark.parametrize("method", ["get", "put", "post", "delete"])
def test_a_request_reaches_the_pod_and_its_answer_comes_back(
    core: Any, namespace: str, port: int, method: str
) -> None:
    pod_at(core, namespace, "127.0.0.1")
    assert asked(core, namespace, method, port, "a/b") == {
        "method": method.upper(),
        "path": "/a/b",
        "body": "",
    }


def test_headers_reach_the_pod_and_those_of_its_answer_come_back(
    core: Any, namespace: str, port: int
) -> None:
    pod_at(core, namespace, "127.0.0.1")
    core.api_client.default_headers["X-Said"] = "this"
    answer = core.connect_get_namespaced_pod_proxy_with_path(
        f"a:{port}", namespace, "x", _preload_content=False
    )
    assert answer.headers["X-Told"] == "this"
    assert answer.headers.getlist("Content-Type") == ["application/json"]


def test_what_the_pod_refuses_is_refused(core: Any, namespace: str, port: int) -> None:
    pod_at(core, namespace, "127.0.0.1")
    with pytest.raises(ApiException) as caught:
        asked(core, namespace, "get", port, "teapot/418")
    assert caught.value.status == 418


@pytest.mark.parametrize(
    ("ip", "says"), [(None, "has none yet"), ("127.0.0.1", "error trying to reach service")]
)
def test_a_pod_that_cannot_be_reached_is_503(core: Any, namespace: str, ip: str | None, says: str) -> None:
    pod_at(core, namespace, ip)
    with pytest.raises(ApiException) as caught:
        asked(core, namespace, "get", 1, "x")
    assert caught.value.status == 503
    assert says in json.loads(caught.value.body or "")["message"]


def test_a_pod_that_is_not_there_is_404_and_https_is_not_carried(core: Any, namespace: str) -> None:
    with pytest.raises(ApiException) as caught:
        asked(core, namespace, "get", 1, "x")
    assert caught.value.status == 404
    pod_at(core, namespace, "127.0.0.1")
    with pytest.raises(ApiException) as caught:
        core.connect_get_namespaced_pod_proxy("https:a:1", namespace)
    assert caught.value.status == 400
