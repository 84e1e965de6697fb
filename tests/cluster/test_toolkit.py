"""chaostoolkit-kubernetes through our client: against the lab's API, and never against anybody else's."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chaosk8s.pod.probes as original
import pytest

from resync.cluster import errors, toolkit
from resync.cluster.connecting import Cluster
from resync.cluster.toolkit import Headcount, headcount, with_client
from resync.lab.api.process import ApiProcess

pytestmark = pytest.mark.integration

PodMaker = Callable[..., None]
ENGINES = "app=vllm"


@pytest.fixture
def set_status(cluster: Cluster, namespace: str) -> Callable[..., None]:
    def change(name: str, **status: object) -> None:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        merge = "application/merge-patch+json"
        cluster.request("PATCH", path, body={"status": status}, content_type=merge)

    return change


def test_running_and_ready_pods_are_well(cluster: Cluster, namespace: str, two_sides: None) -> None:
    assert two_sides is None
    found = headcount(cluster, namespace, ENGINES)
    assert found == Headcount(2, 2, ready=True)
    assert found.all_well


def test_no_pod_is_not_all_well(cluster: Cluster, namespace: str) -> None:
    found = headcount(cluster, namespace, ENGINES)
    assert found.pods == 0
    assert not found.all_well


def test_a_pending_pod_is_counted_and_not_running(
    cluster: Cluster, namespace: str, make_pod: PodMaker
) -> None:
    make_pod("engine-0", app="vllm")
    make_pod("engine-1", phase="Pending", app="vllm")
    found = headcount(cluster, namespace, ENGINES)
    assert (found.pods, found.running, found.all_well) == (2, 1, False)


@pytest.mark.parametrize("conditions", [[{"type": "Ready", "status": "False"}], [], None])
def test_a_running_pod_that_is_not_ready_is_not_well(
    cluster: Cluster,
    namespace: str,
    make_pod: PodMaker,
    set_status: Callable[..., None],
    conditions: list[dict[str, str]] | None,
) -> None:
    make_pod("engine-0", app="vllm")
    set_status("engine-0", conditions=conditions)
    found = headcount(cluster, namespace, ENGINES)
    assert (found.running, found.ready, found.all_well) == (1, False, False)


def test_a_selector_that_is_none_is_refused(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(errors.RefusedError, match="count_pods of chaostoolkit-kubernetes"):
        headcount(cluster, namespace, "app in vllm")


def test_wrong_credentials_are_refused(api: ApiProcess, tmp_path: Path) -> None:
    nobody = kubeconfig_for(f"{api.server}/not-the-secret", tmp_path / "k")
    with Cluster.connect(nobody) as cluster, pytest.raises(errors.RefusedError):
        headcount(cluster, "default", ENGINES)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[socket.socket]]]:
    """A port that takes connections, says nothing, and remembers each."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", taken
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    for one in taken:
        one.close()


def kubeconfig_for(server: str, path: Path) -> Path:
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(json.dumps(body))
    return path


def test_a_server_that_hangs_is_given_up(tmp_path: Path, listener: tuple[str, list[socket.socket]]) -> None:
    took_s = []
    with Cluster.connect(kubeconfig_for(listener[0], tmp_path / "k")) as cluster:
        for asked in range(1, 4):
            began = time.monotonic()
            with pytest.raises(errors.NoAnswerError):
                headcount(cluster, "default", ENGINES, timeout_s=1.0)
            took_s.append(time.monotonic() - began)
            assert len(listener[1]) == asked, "one question, not repeated"
    assert min(took_s) < 2.0, "a stall can only add to it"


ASK_AS_A_USER = """
import sys
from pathlib import Path
from resync.cluster.connecting import Cluster
from resync.cluster.toolkit import headcount
with Cluster.connect(Path(sys.argv[1])) as cluster:
    print(headcount(cluster, sys.argv[2], "app=vllm").pods)
"""
ASK_BARE = """
import sys, threading
import chaosk8s.pod.probes as probes
threading.Thread(target=probes.count_pods, args=("app=vllm",), daemon=True).start()
sys.stdin.read()
"""


def user_environment(tmp_path: Path, server: str) -> dict[str, str]:
    """Whatever could lead to the user's own cluster leads to `server`."""
    home = tmp_path / "home"
    (home / ".kube").mkdir(parents=True)
    theirs = kubeconfig_for(server, home / ".kube" / "config")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "KUBECONFIG": str(theirs),
        "KUBERNETES_HOST": server,
        "KUBERNETES_CONTEXT": "c",
        "HTTP_PROXY": server,
        "http_proxy": server,
    }


@pytest.mark.usefixtures("two_sides")
def test_the_users_own_cluster_is_never_contacted(
    api: ApiProcess, namespace: str, tmp_path: Path, listener: tuple[str, list[socket.socket]]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK_AS_A_USER, str(api.kubeconfig), namespace],
        env=user_environment(tmp_path, listener[0]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
    assert listener[1] == []


def test_the_bare_probe_would_contact_it(tmp_path: Path, listener: tuple[str, list[socket.socket]]) -> None:
    """The listener of the test above can be reached: without the wrapper it is."""
    from resync.kits.waits import wait_until

    with subprocess.Popen(
        [sys.executable, "-c", ASK_BARE],
        env=user_environment(tmp_path, listener[0]),
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: listener[1], what="a connection to the user's cluster", timeout_s=30.0)
        finally:
            process.kill()


def test_the_package_itself_is_left_as_it_was(cluster: Cluster, namespace: str, make_pod: PodMaker) -> None:
    make_pod("engine-0", app="vllm")
    maker = original.create_k8s_api_client
    headcount(cluster, namespace, ENGINES)
    assert original.create_k8s_api_client is maker
    assert original.count_pods.__globals__[toolkit.MAKES_CLIENT] is maker


def test_a_probe_that_finds_its_client_elsewhere_is_not_called(cluster: Cluster) -> None:
    def other(secrets: Any = None) -> None:
        raise AssertionError(secrets)

    with pytest.raises(TypeError, match="could reach any cluster"):
        with_client(other, cluster.api_client)
    with pytest.raises(TypeError, match="could reach any cluster"):
        with_client(original.count_min_pods, cluster.api_client)
