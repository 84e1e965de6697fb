"""The lab's real API server, a namespace per test, and a stand-in for the mesh that only writes statuses."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from resync.cluster import errors
from resync.cluster.connecting import MERGE_PATCH, Cluster
from resync.cluster.kinds import KINDS
from resync.cluster.manifests import Manifest, parse_manifest
from resync.cluster.pods import list_pods
from resync.cluster.selectors import matches, selector_of
from resync.lab.api.process import ApiProcess, start_api

Behaviour = Literal["obeys", "is absent", "selects nobody", "fails", "never lets go", "expires early"]
FINALIZER = "chaos-mesh/records"


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with start_api(tmp_path_factory.mktemp("api")) as process:
        yield process


@pytest.fixture
def cluster(api: ApiProcess) -> Iterator[Cluster]:
    with Cluster.connect(api.kubeconfig) as connected:
        yield connected


_NUMBERS = itertools.count()


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    name = f"test-{next(_NUMBERS)}"
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "annotations": {"chaos-mesh.org/inject": "enabled"}},
    }
    cluster.request("POST", "/api/v1/namespaces", body=body)
    return name


PodMaker = Callable[..., None]


@pytest.fixture
def make_pod(cluster: Cluster, namespace: str) -> PodMaker:
    """Creates a pod, Running and Ready unless said otherwise, in the test's namespace."""

    def make(name: str, *, phase: str = "Running", **labels: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/pods"
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": "node-0", "containers": [{"name": "main", "image": "none"}]},
        }
        cluster.request("POST", path, body=body)
        status = {
            "phase": phase,
            "podIP": "127.1.0.1",
            "startTime": "2026-01-02T03:04:05Z",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "main", "image": "none", "imageID": "", "ready": True, "restartCount": 3}
            ],
        }
        patch(cluster, f"{path}/{name}/status", {"status": status})

    return make


def patch(cluster: Cluster, path: str, body: dict[str, Any]) -> None:
    cluster.request("PATCH", path, body=body, content_type=MERGE_PATCH)


def fault_document(namespace: str, name: str = "slow", **spec: Any) -> dict[str, Any]:
    body = {
        "action": "delay",
        "mode": "all",
        "selector": {"labelSelectors": {"app": "gateway"}},
        "direction": "both",
        "target": {"mode": "all", "selector": {"labelSelectors": {"app": "vllm"}}},
        "delay": {"latency": "50ms", "jitter": "10ms", "correlation": "0"},
        "duration": "20s",
        **spec,
    }
    return {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": "NetworkChaos",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in body.items() if value is not None},
    }


@pytest.fixture
def manifest(namespace: str) -> Manifest:
    return parse_manifest(fault_document(namespace))


@pytest.fixture
def two_sides(make_pod: PodMaker) -> None:
    """A gateway and two engines."""
    make_pod("gateway-0", app="gateway")
    make_pod("engine-0", app="vllm")
    make_pod("engine-1", app="vllm")


class StandInMesh:
    """Writes what Chaos Mesh writes on NetworkChaos objects of one namespace, and does nothing else."""

    def __init__(self, kubeconfig: Path, namespace: str, behaviour: Behaviour) -> None:
        self.cluster = Cluster.connect(kubeconfig)
        self.namespace = namespace
        self.behaviour = behaviour
        self.stopped = threading.Event()
        self.path = KINDS["NetworkChaos"].path(namespace)

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            found = self.cluster.get(self.path, dict[str, Any])
            for item in found["items"]:
                try:
                    self.step(item)
                except errors.NotFoundError:
                    continue

    def step(self, item: dict[str, Any]) -> None:
        if self.behaviour == "is absent":
            return
        meta = item["metadata"]
        path = f"{self.path}/{meta['name']}"
        if "deletionTimestamp" in meta:
            if self.behaviour != "never lets go":
                patch(self.cluster, path, {"metadata": {"finalizers": None}})
        elif not meta.get("finalizers"):
            patch(self.cluster, path, {"metadata": {"finalizers": [FINALIZER]}})
        elif not item.get("status"):
            patch(self.cluster, path, {"status": self.status(item)})

    def status(self, item: dict[str, Any]) -> dict[str, Any]:
        records = [] if self.behaviour == "selects nobody" else self.records(item)
        injected = bool(records) and self.behaviour in {"obeys", "never lets go"}
        if not records:
            self.tell(item, "Failed to select targets: no pod is selected")
        conditions = {
            "Selected": bool(records),
            "AllInjected": injected,
            "AllRecovered": False,
            "Paused": False,
        }
        return {
            "conditions": [{"type": key, "status": str(value)} for key, value in conditions.items()],
            "experiment": {
                "desiredPhase": "Stop" if self.behaviour == "expires early" else "Run",
                **({"containerRecords": records} if records else {}),
            },
        }

    def records(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        sides = [(".", item["spec"]["selector"])]
        if "target" in item["spec"]:
            sides.append((".Target", item["spec"]["target"]["selector"]))
        pods = list_pods(self.cluster, self.namespace)
        return [
            self.record(pod.pod_key, key)
            for key, block in sides
            for pod in pods
            if matches(selector_of(block, key), pod, self.namespace)
        ]

    def record(self, pod_key: str, side: str) -> dict[str, Any]:
        failed = self.behaviour == "fails"
        event = {"operation": "Apply", "timestamp": "2026-01-01T00:00:00Z"}
        said = {"type": "Failed", "message": "no daemon on node-0"} if failed else {"type": "Succeeded"}
        return {
            "id": pod_key,
            "selectorKey": side,
            "phase": "Not Injected/Wait" if failed else "Injected",
            "injectedCount": 0 if failed else 1,
            "recoveredCount": 0,
            "events": [{**event, **said}],
        }

    def tell(self, item: dict[str, Any], message: str) -> None:
        meta = item["metadata"]
        reference = {
            "kind": "NetworkChaos",
            "namespace": self.namespace,
            "name": meta["name"],
            "uid": meta["uid"],
            "apiVersion": "chaos-mesh.org/v1alpha1",
        }
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta['name']}."},
            "involvedObject": reference,
            "reason": "Failed",
            "type": "Warning",
            "message": message,
        }
        self.cluster.request("POST", f"/api/v1/namespaces/{self.namespace}/events", body=body)


MeshMaker = Callable[[Behaviour], Any]


@pytest.fixture
def mesh(api: ApiProcess, namespace: str) -> MeshMaker:
    """`with mesh("obeys"): ...`: a mesh of that behaviour for the test's namespace; afterwards every
    object is freed.
    """

    @contextmanager
    def run(behaviour: Behaviour) -> Iterator[None]:
        stand_in = StandInMesh(api.kubeconfig, namespace, behaviour)
        thread = threading.Thread(target=stand_in.run)
        thread.start()
        try:
            yield
        finally:
            stand_in.stopped.set()
            thread.join()
            stand_in.cluster.close()

    return run
