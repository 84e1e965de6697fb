"""What a run asks of a cluster before its fault, against the lab's API: engines, blast radius, mesh."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from resync.cluster.connecting import MERGE_PATCH, Cluster
from resync.cluster.residues import residue
from resync.kits.clocks import SystemClock
from resync.kits.shields import UNSHIELDED
from resync.kvsync.fleet import LABEL_RANKS
from resync.lab.api.process import ApiProcess, start_api
from resync.run import preflight, settings
from resync.run.activities import engines_running
from resync.run.clusterworld import ClusterWorld
from resync.run.errors import RefusedError, UnmeasuredError
from resync.run.evidence import EvidenceFile
from resync.run.judgements import Outcome
from resync.run.records import CheckPassed
from resync.run.runs import Run

pytestmark = [pytest.mark.integration]

PodMaker = Callable[..., None]
MESH_LIMIT = "300ms"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with start_api(tmp_path_factory.mktemp("api")) as process:
        yield process


@pytest.fixture
def cluster(api: ApiProcess) -> Iterator[Cluster]:
    with Cluster.connect(api.kubeconfig) as connected:
        yield connected


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    name = f"n{abs(hash(request.node.nodeid)):x}"
    cluster.request(
        "POST",
        "/api/v1/namespaces",
        body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
    )
    return name


@pytest.fixture
def make_pod(cluster: Cluster, namespace: str) -> PodMaker:
    def make(name: str, app: str, *, phase: str = "Running", ready: bool = True, ranks: str = "1") -> None:
        path = f"/api/v1/namespaces/{namespace}/pods"
        spec = {"nodeName": "node-0", "containers": [{"name": "main", "image": "none"}]}
        meta = {"name": name, "labels": {"app": app, LABEL_RANKS: ranks}}
        cluster.request(
            "POST", path, body={"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        )
        status = {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}
        cluster.request("PATCH", f"{path}/{name}/status", body={"status": status}, content_type=MERGE_PATCH)

    return make


@pytest.fixture
def open_world(api: ApiProcess, namespace: str) -> Iterator[Callable[..., ClusterWorld]]:
    opened: list[ClusterWorld] = []

    def build(**changes: str) -> ClusterWorld:
        said = {
            "kubeconfig": str(api.kubeconfig),
            "prometheus_url": "http://127.0.0.1:9",
            "namespace": namespace,
            "gateway_namespace": namespace,
            "mesh_limit": MESH_LIMIT,
        }
        opened.append(ClusterWorld(settings.parse(said | changes), UNSHIELDED))
        return opened[-1]

    yield build
    for world in opened:
        world.close()


def run_over(world: ClusterWorld, directory: Path) -> Run:
    run_id = "20260101-000000-abcdef"
    run = Run(EvidenceFile(directory / "evidence.jsonl"), run_id, clock=SystemClock())
    run.world = world
    return run


def test_engines_are_what_the_api_lists_and_the_toolkit_counts(
    open_world: Callable[..., ClusterWorld], make_pod: PodMaker
) -> None:
    make_pod("engine-0", "vllm")
    make_pod("engine-1", "vllm", ready=False)
    make_pod("engine-2", "vllm", phase="Pending", ready=False)
    make_pod("other", "else")
    seen = {p.pod_key.split("/")[1]: (p.phase, p.ready) for p in open_world().engines()}
    assert seen == {
        "engine-0": ("Running", True),
        "engine-1": ("Running", False),
        "engine-2": ("Pending", False),
    }


def test_engines_whose_ranks_nobody_can_tell_apart_are_not_measured(
    open_world: Callable[..., ClusterWorld], make_pod: PodMaker, tmp_path: Path
) -> None:
    make_pod("engine-0", "vllm")
    make_pod("engine-1", "vllm", ranks="2")
    with pytest.raises(UnmeasuredError, match=r"engine-1 is labelled .*-size=2: ") as raised:
        open_world().engines()
    assert "RESYNC_ENGINE_SELECTOR" in raised.value.next_step
    with pytest.raises(UnmeasuredError):
        engines_running(run_over(open_world(), tmp_path))


def test_no_engine_at_all_is_not_measured(open_world: Callable[..., ClusterWorld], tmp_path: Path) -> None:
    world = open_world()
    assert world.engines() == []
    assert engines_running(run_over(world, tmp_path)).outcome is Outcome.UNMEASURED


def test_an_engine_that_is_not_ready_is_named(
    open_world: Callable[..., ClusterWorld], make_pod: PodMaker, tmp_path: Path
) -> None:
    make_pod("engine-0", "vllm")
    make_pod("engine-1", "vllm", ready=False)
    found = engines_running(run_over(open_world(), tmp_path))
    assert found.outcome is Outcome.BREACHED
    assert "engine-1" in found.detail
    assert "not ready" in found.detail


def test_an_api_that_is_gone_is_not_measured(tmp_path: Path) -> None:
    with start_api(tmp_path / "api") as passing:
        said = {"kubeconfig": str(passing.kubeconfig), "prometheus_url": "http://127.0.0.1:9"}
        world = ClusterWorld(settings.parse(said), UNSHIELDED)
    with closing(world), pytest.raises((UnmeasuredError, RefusedError)) as raised:
        world.engines()
    assert raised.value.next_step


@pytest.mark.parametrize(("limit", "refused"), [("3", True), ("4", False)])
def test_more_pods_than_the_limit_are_refused_by_name_with_what_to_do(
    open_world: Callable[..., ClusterWorld],
    make_pod: PodMaker,
    limit: str,
    refused: bool,  # noqa: FBT001 - a case of the table
) -> None:
    make_pod("gateway-0", "gateway-plugins")
    for i in range(3):
        make_pod(f"engine-{i}", "vllm")
    world = open_world(targets_max=limit)
    plan = world.plan("network-delay.yaml", "r1")
    if not refused:
        hit = world.hit(plan)
        assert (len(hit.sources), len(hit.peers)) == (1, 3)
        return
    with pytest.raises(RefusedError, match="would hit 4 pods, more than the limit of 3") as raised:
        world.hit(plan)
    assert "engine-2" in str(raised.value)
    assert "RESYNC_TARGETS_MAX" in raised.value.next_step


def test_a_mesh_that_does_not_answer_stops_the_run_and_leaves_nothing(
    open_world: Callable[..., ClusterWorld], cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """Nobody executes faults here: this API has no controller."""
    run = run_over(open_world(), tmp_path)
    with pytest.raises(RefusedError, match="no controller touched") as raised:
        preflight.check_mesh(run)
    assert "Chaos Mesh" in raised.value.next_step
    assert residue(cluster, namespace) == ()
    assert not run.file.read()


def test_a_run_that_is_stopped_while_it_asks_leaves_nothing(
    open_world: Callable[..., ClusterWorld],
    cluster: Cluster,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The signal arrives inside the question's own healing: what it left is removed all the same."""
    from resync.cluster import controllers

    run = run_over(open_world(), tmp_path)

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(controllers, "heal", stopped)
    monkeypatch.setattr(controllers, "_await_touch", stopped)
    with pytest.raises(KeyboardInterrupt):
        preflight.check_mesh(run)
    assert residue(cluster, namespace) == ()


def test_a_mesh_that_answers_is_in_the_evidence(
    open_world: Callable[..., ClusterWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resync.cluster import controllers

    monkeypatch.setattr(controllers, "_await_touch", lambda *_: 0.07)
    run = run_over(open_world(), tmp_path)
    preflight.check_mesh(run)
    (record,) = run.file.read()
    assert isinstance(record, CheckPassed)
    assert (record.check, "0.07 s" in record.detail) == ("mesh-alive", True)
