"""What is killed comes back by itself, as another process; a mesh that kills nobody proves nothing."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from benchmarks.detections import CAUGHT, came_to
from benchmarks.mutants import Predicted, Where
from resync.cluster.connecting import path_of
from resync.cluster.errors import NotFoundError
from resync.cluster.leases import NAME as LEASE
from resync.cluster.pods import Pod, list_pods
from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle, running_lab

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Run = Any
Standing = Callable[[], list[dict[str, Any]]]
LEASES = ("apis", "coordination.k8s.io", "v1", "namespaces")
SHORT = {"RESYNC_FAULT_DURATION": "6s"}
BROKEN = {**SHORT, "RESYNC_CONVERGENCE_LIMIT": "3s", "RESYNC_RESTART_LIMIT": "6s"}
"""What never converges is not waited for as long as what may."""


def pods_of(lab: LabHandle) -> dict[str, Pod]:
    with lab.cluster() as cluster:
        return {pod.pod_key: pod for pod in list_pods(cluster, lab.namespace)}


def stage(ran: Any, name: str) -> list[tuple[float, float]]:
    """The intervals of that stage, of every pod; fails where it was not reached."""
    found = [s["between_s"] for s in ran.line["recovery"] if s["stage"] == name]
    assert found, ran.line["recovery"]
    assert all(latest is not None for _, latest in found)
    return found


def outcomes(ran: Any) -> dict[tuple[str, str], str]:
    return {(c["claim"], c["phase"]): c["outcome"] for c in ran.line["claims"]}


@pytest.mark.scenario("failure/engine-pod-kill")
def test_an_engine_s_pod_that_is_killed_is_replaced_and_forgotten(lab: LabHandle, run: Run) -> None:
    before = pods_of(lab)
    ran = run("engine-pod-kill", **SHORT)
    assert ran.code == 0, ran.told()
    now = pods_of(lab)
    (killed,) = ran.line["effect"]["pods"]
    assert {pod for pod in before if before[pod].uid != now[pod].uid} == {killed}
    assert now[killed].ip == before[killed].ip
    assert outcomes(ran)["avoided", "fault"] == outcomes(ran)["converged", "recovery"] == "held"
    ((_, back),) = stage(ran, "back")
    assert all(latest >= back for _, latest in stage(ran, "converged"))
    ran.is_honest()


@pytest.mark.scenario("failure/container-kill")
def test_an_engine_s_process_that_is_killed_is_started_again_in_its_pod(lab: LabHandle, run: Run) -> None:
    before = pods_of(lab)
    ran = run("container-kill", **SHORT)
    assert ran.code == 0, ran.told()
    now = pods_of(lab)
    (killed,) = ran.line["effect"]["pods"]
    assert {pod: now[pod].restart_count - before[pod].restart_count for pod in before} == {
        pod: int(pod == killed) for pod in before
    }
    assert {pod: now[pod].uid for pod in before} == {pod: before[pod].uid for pod in before}
    assert outcomes(ran)["returned", "recovery"] == "held"
    ran.is_honest()


@pytest.mark.own_lab
@pytest.mark.scenario("failure/gateway-pod-kill")
def test_a_gateway_that_is_killed_builds_its_index_from_replays(run: Run, fresh_lab: Any) -> None:
    mine = fresh_lab()  # in an old one engines have said more than their rings hold
    before = pods_of(mine)
    ran = run("gateway-pod-kill", where=mine, RESYNC_FAULT_DURATION="10s")
    assert ran.code == 0, ran.told()
    assert pods_of(mine)["default/gateway-0"].uid != before["default/gateway-0"].uid
    (seen,) = ran.line["effect"]["pods"].values()
    assert seen["failed_requests"] > 0, "nobody stands in for the only gateway: that is counted, not hidden"
    assert outcomes(ran)["replays", "recovery"] == "held"
    assert len(stage(ran, "converged")) == len(stage(ran, "replay-complete")) == 3
    ran.is_honest()


MUTANTS = {
    "kept-on-return": Predicted("engine-pod-kill", "divergence", ("phantom",), Where.HIT),
    "replay-discarded": Predicted("gateway-pod-kill", "divergence", ("missing",), Where.ANY),
    "kept-on-restart": Predicted("container-kill", "divergence", ("phantom",), Where.HIT),
}


@pytest.mark.own_lab
@pytest.mark.parametrize(
    "flaw",
    [
        "kept-on-return",
        pytest.param("replay-discarded", marks=pytest.mark.nightly),
        pytest.param("kept-on-restart", marks=pytest.mark.nightly),
    ],
)
def test_a_defect_that_shows_after_a_kill_is_found_for_the_predicted_reason(
    run: Run, fresh_lab: Any, flaw: str
) -> None:
    mine = fresh_lab("--gateway-arg=--flaw", f"--gateway-arg={flaw}")
    ran = run(MUTANTS[flaw].experiment, where=mine, **BROKEN)
    assert came_to(MUTANTS[flaw], ran.line) == CAUGHT, ran.told()
    ran.is_honest()


@pytest.fixture(scope="module")
def idle_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHandle]:
    """Its mesh reports kills and makes none."""
    with running_lab(tmp_path_factory.mktemp("idle-lab"), "--idle-mesh") as handle:
        yield handle


@pytest.mark.own_lab
@pytest.mark.xdist_group("idle lab")
@pytest.mark.parametrize(
    "experiment",
    ["engine-pod-kill", "gateway-pod-kill", pytest.param("container-kill", marks=pytest.mark.nightly)],
)
def test_a_kill_that_kills_nobody_proves_nothing(run: Run, idle_lab: LabHandle, experiment: str) -> None:
    before = {pod.uid for pod in pods_of(idle_lab).values()}
    ran = run(experiment, where=idle_lab, **SHORT)
    assert ran.code == 2, ran.told()
    assert "reports the fault injected, but default/" in ran.line["reason"]
    assert "is the process from before" in ran.line["reason"]
    assert {pod.uid for pod in pods_of(idle_lab).values()} == before
    ran.is_honest()


def test_a_runner_that_is_killed_leaves_a_lab_that_heals_and_an_object_that_is_swept(
    lab: LabHandle, brought_to: Run, standing: Standing, command: Any
) -> None:
    before = pods_of(lab).keys()
    running = brought_to("effect-proven", "engine-pod-kill", RESYNC_FAULT_DURATION="10s")
    running.process.kill()
    running.finished()
    wait_until(
        lambda: (now := pods_of(lab)).keys() == before and all(pod.ready for pod in now.values()),
        what="every pod to be Ready again",
        timeout_s=30.0,
    )
    assert command("verdict").returncode == 2
    with lab.cluster() as cluster, suppress(NotFoundError):
        cluster.request("DELETE", f"{path_of(*LEASES, lab.namespace, 'leases')}/{LEASE}")
    (left,) = standing()
    assert left["status"]["experiment"]["containerRecords"][0]["phase"] == "Injected", (
        "a kill is never undone"
    )
    swept = command("sweep")
    assert swept.returncode == 0, swept.stdout
    assert left["metadata"]["name"] in swept.stdout
    assert not standing()
