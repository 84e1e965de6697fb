"""One completion through the API server's proxy: what vLLM and a gateway may answer, and what else comes."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from resync.cluster.completions import Completion, complete
from resync.cluster.connecting import Cluster
from resync.cluster.pods import Pod
from resync.lab.api.process import ApiProcess

pytestmark = pytest.mark.integration

USAGE = {"prompt_tokens": 65, "completion_tokens": 1}
ROUTED = {"target-pod": "engine-1", "x-routing-selection": "prefix_match"}


class Front(BaseHTTPRequestHandler):
    """Answers as it is told, or not at all; remembers what it was asked."""

    says: ClassVar[tuple[int, bytes, dict[str, str]]]
    asked: ClassVar[list[tuple[str, dict[str, str], Any]]]
    silent: ClassVar[threading.Event]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, dict(self.headers), body))
        self.silent.wait(20)
        status, content, headers = self.says
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def front() -> Iterator[tuple[type[Front], int]]:
    class handler(Front):  # noqa: N801 - one for each test
        asked: ClassVar[list[tuple[str, dict[str, str], Any]]] = []
        silent: ClassVar[threading.Event] = threading.Event()

    handler.silent.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler, int(server.server_address[1])
    handler.silent.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pod(cluster: Cluster, namespace: str) -> Pod:
    path = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"containers": [{"name": "c", "image": "i"}]}
    cluster.request("POST", path, body={"metadata": {"name": "front"}, "spec": spec})
    status = {"status": {"phase": "Running", "podIP": "127.0.0.1"}}
    merge = "application/merge-patch+json"
    cluster.request("PATCH", f"{path}/front/status", body=status, content_type=merge)
    return Pod(namespace=namespace, name="front", uid="1")


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 64}}, 64),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": None}}, None),
        ({**USAGE, "prompt_tokens_details": None}, None),
        (USAGE, None),
    ],
)
def test_it_says_where_it_went_and_what_was_reused(
    cluster: Cluster, pod: Pod, front: tuple[type[Front], int], usage: object, cached: int | None
) -> None:
    handler, port = front
    handler.says = 200, json.dumps({"usage": usage}).encode(), ROUTED
    answer = complete(cluster, pod, port, model="m", prompt=range(3))
    assert answer == Completion(status=200, cached_tokens=cached, target="engine-1", selection="prefix_match")
    ((path, headers, body),) = handler.asked
    assert path == "/v1/completions"
    assert headers["routing-strategy"] == "prefix-cache"
    assert body == {"model": "m", "prompt": [0, 1, 2], "max_tokens": 1}


@pytest.mark.parametrize(("status", "content"), [(503, b"no engine is ready"), (200, b"<h1>hello</h1>")])
def test_a_refusal_and_a_strangers_answer_are_answers(
    cluster: Cluster, pod: Pod, front: tuple[type[Front], int], status: int, content: bytes
) -> None:
    handler, port = front
    handler.says = status, content, {}
    assert complete(cluster, pod, port, model="m", prompt=[1]) == Completion(status=status)


def test_a_pod_that_is_not_there_is_503(cluster: Cluster, pod: Pod) -> None:
    assert complete(cluster, pod, 1, model="m", prompt=[1]).status == 503


def test_no_answer_in_time_is_none(api: ApiProcess, pod: Pod, front: tuple[type[Front], int]) -> None:
    handler, port = front
    handler.says = 200, b"{}", {}
    handler.silent.clear()
    with Cluster.connect(api.kubeconfig, timeout_s=0.5) as impatient:
        assert complete(impatient, pod, port, model="m", prompt=[1]) == Completion(status=0)
