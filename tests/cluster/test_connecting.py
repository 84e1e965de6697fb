"""Which cluster, and what an answer means."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from resync.cluster import errors
from resync.cluster.answers import error_for
from resync.cluster.connecting import Cluster
from resync.cluster.namespaces import opted_in
from resync.cluster.pods import list_pods
from resync.kits.urls import is_loopback
from resync.lab.api.process import ApiProcess

pytestmark = pytest.mark.integration


def kubeconfig_for(server: str, path: Path) -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return path


def test_ready_tells_the_version(cluster: Cluster) -> None:
    assert cluster.ready().startswith("v1.")


def test_the_environment_names_no_cluster(
    api: ApiProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """KUBECONFIG pointing at a living cluster is not a reason to talk to it."""
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(errors.KubeconfigError, match="in-cluster credentials were asked for"):
        Cluster.connect(None)
    with pytest.raises(errors.KubeconfigError, match="there is no kubeconfig at"):
        Cluster.connect(tmp_path / "missing")


def test_a_proxy_of_the_environment_does_not_stand_before_loopback(
    api: ApiProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Cluster.connect(api.kubeconfig) as cluster:
        cluster.ready()


@pytest.mark.parametrize("text", ["{", "[]", "apiVersion: v1", "clusters: 7\ncontexts: []"])
def test_a_kubeconfig_that_is_none_is_the_users(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(errors.KubeconfigError) as raised:
        Cluster.connect(path)
    assert raised.value.whose == "user"


def test_an_unknown_context_is_the_users(api: ApiProcess) -> None:
    with pytest.raises(errors.KubeconfigError, match="nowhere"):
        Cluster.connect(api.kubeconfig, context="nowhere")


def test_nobody_there_never_happened(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    took_s = []
    with Cluster.connect(kubeconfig_for(f"http://127.0.0.1:{port}", tmp_path / "k")) as cluster:
        for _ in range(TRIES):
            began = time.monotonic()
            with pytest.raises(errors.UnreachableError) as raised:
                cluster.ready()
            took_s.append(time.monotonic() - began)
            found = raised.value
            assert (found.whose, found.definite, found.retryable) == ("network", True, True)
    assert min(took_s) < 1.0, "refused is refused once"


TRIES = 3
"""A stall can only add to what a try takes: the shortest is judged."""
Talk = Callable[[socket.socket], None]


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """A server that treats each connection as told, and a cluster connected to it."""
    opened: list[socket.socket] = []
    clusters: list[Cluster] = []

    def start(talk: Talk, timeout_s: float = 5.0) -> Cluster:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                opened.append(connection)
                talk(connection)

        threading.Thread(target=accept, daemon=True).start()
        path = kubeconfig_for(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path / "k")
        clusters.append(Cluster.connect(path, timeout_s=timeout_s))
        return clusters[-1]

    yield start
    for one in opened:
        one.close()
    for cluster in clusters:
        cluster.close()


def test_silence_may_have_happened(talking: Callable[..., Cluster]) -> None:
    cluster = talking(lambda _: None, timeout_s=0.5)
    took_s = []
    for _ in range(TRIES):
        began = time.monotonic()
        with pytest.raises(errors.NoAnswerError, match="may have happened") as raised:
            cluster.request("POST", "/api/v1/namespaces", body={})
        took_s.append(time.monotonic() - began)
        assert (raised.value.definite, raised.value.retryable) == (False, True)
    assert min(took_s) < 1.0, "one attempt, one limit"


def test_no_question_is_repeated_behind_our_back(talking: Callable[..., Cluster]) -> None:
    connections: list[socket.socket] = []
    # Every connection has that long to be counted: the one that is made, and one that were made after it.
    cluster = talking(connections.append, timeout_s=1.5)
    with pytest.raises(errors.NoAnswerError):
        cluster.ready()
    assert len(connections) == 1


def test_half_an_answer_may_have_happened(talking: Callable[..., Cluster]) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        connection.close()

    with pytest.raises(errors.NoAnswerError):
        talking(talk).ready()


def test_a_page_is_not_an_api(talking: Callable[..., Cluster]) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>")

    with pytest.raises(errors.NotAnApiError, match="not what a Kubernetes API sends"):
        talking(talk).ready()


@pytest.mark.parametrize(
    ("status", "reason", "kind", "definite", "retryable"),
    [
        (400, "BadRequest", errors.RefusedError, True, False),
        (401, "Unauthorized", errors.RefusedError, True, False),
        (403, "Forbidden", errors.RefusedError, True, False),
        (404, "NotFound", errors.NotFoundError, True, False),
        (408, "Timeout", errors.ServerFailedError, False, True),
        (409, "AlreadyExists", errors.AlreadyExistsError, True, False),
        (409, "Conflict", errors.ConflictError, True, True),
        (409, "", errors.ConflictError, True, True),
        (410, "Expired", errors.GoneError, True, True),
        (410, "Gone", errors.GoneError, True, True),
        (415, "UnsupportedMediaType", errors.RefusedError, True, False),
        (422, "Invalid", errors.RefusedError, True, False),
        (429, "TooManyRequests", errors.ServerFailedError, True, True),
        (500, "InternalError", errors.ServerFailedError, False, True),
        (504, "Timeout", errors.ServerFailedError, False, True),
    ],
)
def test_every_status_says_whether_it_happened(
    status: int,
    reason: str,
    kind: type[errors.AnswerError],
    *,
    definite: bool,
    retryable: bool,
) -> None:
    body = f'{{"kind":"Status","reason":"{reason}","message":"words"}}'.encode()
    found = error_for(status, body, "GET /x")
    assert type(found) is kind
    assert (found.definite, found.retryable, found.status) == (definite, retryable, status)
    assert "words" in str(found)


def test_pods_are_parsed_at_the_edge(cluster: Cluster, namespace: str, make_pod: Callable[..., None]) -> None:
    make_pod("b", app="vllm")
    make_pod("a", app="gateway", phase="Pending")
    found = list_pods(cluster, namespace)
    assert [pod.name for pod in found] == ["a", "b"]
    (engine,) = list_pods(cluster, namespace, "app=vllm")
    assert engine.pod_key == f"{namespace}/b"
    assert (engine.ip, engine.phase, engine.ready, engine.restart_count) == ("127.1.0.1", "Running", True, 3)
    assert (engine.node, engine.labels, engine.deleting) == ("node-0", {"app": "vllm"}, False)
    assert engine.started_s == 1767323045.0
    assert list_pods(cluster, namespace, "app=nobody") == ()


def test_a_namespace_opts_in_by_its_annotation(cluster: Cluster, namespace: str) -> None:
    assert opted_in(cluster, namespace)
    assert not opted_in(cluster, "kube-system")
    with pytest.raises(errors.NotFoundError):
        opted_in(cluster, "nowhere")


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("http://127.0.0.1:1/x", True),
        ("http://localhost", True),
        ("http://[::1]:8", True),
        ("https://10.0.0.1", False),
        ("https://api.example", False),
    ],
)
def test_loopback(url: str, *, ours: bool) -> None:
    assert is_loopback(url) is ours
