"""A fault's way from creation to being gone, against the lab's API server and a stand-in for the mesh."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resync.cluster import errors
from resync.cluster.connecting import MERGE_PATCH, Cluster
from resync.cluster.controllers import require_alive
from resync.cluster.faults import (
    MANAGED_BY,
    MANAGED_LABEL,
    RUN_LABEL,
    AppliedFault,
    apply,
    await_injected,
    escalate,
    heal,
)
from resync.cluster.kinds import KINDS, installed
from resync.cluster.manifests import Manifest, override, parse_manifest
from resync.cluster.residues import residue, sweep
from resync.cluster.targets import resolve
from resync.kits.clocks import ManualClock
from resync.lab.api.process import start_api

pytestmark = pytest.mark.integration

MeshMaker = Callable[[str], Any]


def document(cluster: Cluster, fault: AppliedFault) -> dict[str, Any]:
    return cluster.get(fault.path, dict[str, Any])


def test_a_fault_is_applied_under_the_runs_label_and_expires_by_itself(
    cluster: Cluster, manifest: Manifest
) -> None:
    before_s = time.time()
    fault = apply(cluster, manifest, run_id="r1")
    labels = document(cluster, fault)["metadata"]["labels"]
    assert labels == {RUN_LABEL: "r1", MANAGED_LABEL: MANAGED_BY}
    assert document(cluster, fault)["spec"]["duration"] == "20s"
    assert before_s - 1.0 <= fault.created_s <= time.time()
    assert fault.expires_s == fault.created_s + 20.0


def test_a_name_that_is_taken_is_no_injection(cluster: Cluster, manifest: Manifest) -> None:
    apply(cluster, manifest, run_id="first")
    with pytest.raises(errors.FaultExistsError, match=r"run first left it there: `resync sweep`") as raised:
        apply(cluster, manifest, run_id="second")
    assert raised.value.definite
    assert raised.value.whose == "user"


def test_a_name_that_somebody_else_took_is_said_to_be_theirs(cluster: Cluster, manifest: Manifest) -> None:
    cluster.request("POST", manifest.row.path(manifest.namespace), body=manifest.body())
    with pytest.raises(errors.FaultExistsError, match="not one of ours"):
        apply(cluster, manifest, run_id="r1")


def test_a_missing_namespace_is_no_fault(cluster: Cluster, manifest: Manifest) -> None:
    with pytest.raises(errors.ClusterError) as raised:
        apply(cluster, override(manifest, namespace="nowhere"), run_id="r1")
    assert raised.value.definite


class LosesAnswers(Cluster):
    """A connection on which the answer to a create is lost, after or before the server acted."""

    acted = True

    def send(self, method: str, path: str, body: object, kind: Any, **more: Any) -> Any:
        if method != "POST":
            return super().send(method, path, body, kind, **more)
        if self.acted:
            super().send(method, path, body, kind, **more)
        raise errors.NoAnswerError("the answer was lost")


@pytest.mark.parametrize("acted", [True, False])
def test_a_create_without_an_answer_is_looked_for(
    cluster: Cluster, manifest: Manifest, *, acted: bool
) -> None:
    lossy = LosesAnswers(cluster.api_client, timeout_s=5)
    lossy.acted = acted
    if acted:
        assert apply(lossy, manifest, run_id="r1").uid
        return
    with pytest.raises(errors.NoAnswerError) as raised:
        apply(lossy, manifest, run_id="r1")
    assert raised.value.definite, "it was looked for, and is not there"


@pytest.mark.usefixtures("two_sides")
def test_injected_means_every_target_has_it(
    cluster: Cluster, manifest: Manifest, mesh: MeshMaker, namespace: str
) -> None:
    with mesh("obeys"):
        fault = apply(cluster, manifest, run_id="r1")
        injected = await_injected(cluster, fault, 5.0)
        sides = {(record.pod_key, record.is_target) for record in injected.records}
        assert sides == {
            (f"{namespace}/gateway-0", False),
            (f"{namespace}/engine-0", True),
            (f"{namespace}/engine-1", True),
        }
        targets = resolve(cluster, manifest)
        assert {pod.pod_key for pod in targets.pods} == {key for key, _ in sides}
        healed = heal(cluster, fault, 5.0)
        assert not healed.already_gone
        assert residue(cluster, namespace) == ()


@pytest.mark.usefixtures("two_sides")
def test_failed_attempts_are_quoted(cluster: Cluster, manifest: Manifest, mesh: MeshMaker) -> None:
    with mesh("fails"):
        fault = apply(cluster, manifest, run_id="r1")
        with pytest.raises(errors.NotInjectedError) as raised:
            await_injected(cluster, fault, 3.0)
    assert "engine-0: Apply failed: no daemon on node-0" in str(raised.value)
    assert not raised.value.definite


def test_nobody_selected_is_known_at_once(cluster: Cluster, manifest: Manifest, mesh: MeshMaker) -> None:
    with mesh("selects nobody"):
        fault = apply(cluster, manifest, run_id="r1")
        began = time.monotonic()
        with pytest.raises(errors.NotInjectedError, match="no pod is selected"):
            await_injected(cluster, fault, 30.0)
        assert time.monotonic() - began < 5.0


@pytest.mark.usefixtures("two_sides")
def test_a_fault_that_is_over_before_it_began_is_known_at_once(
    cluster: Cluster, manifest: Manifest, mesh: MeshMaker
) -> None:
    with mesh("expires early"):
        fault = apply(cluster, manifest, run_id="r1")
        with pytest.raises(errors.NotInjectedError, match="was over before"):
            await_injected(cluster, fault, 30.0)


def test_no_controller_is_said_so(cluster: Cluster, manifest: Manifest) -> None:
    fault = apply(cluster, manifest, run_id="r1")
    with pytest.raises(errors.NotInjectedError, match="no controller has touched it"):
        await_injected(cluster, fault, 0.2)


def test_a_fault_that_vanished_is_not_injected(cluster: Cluster, manifest: Manifest) -> None:
    fault = apply(cluster, manifest, run_id="r1")
    heal(cluster, fault, 5.0)
    with pytest.raises(errors.NotInjectedError, match="was deleted before"):
        await_injected(cluster, fault, 30.0)


def test_what_is_gone_already_is_healed_and_said(cluster: Cluster, manifest: Manifest) -> None:
    fault = apply(cluster, manifest, run_id="r1")
    heal(cluster, fault, 5.0)
    assert heal(cluster, fault, 5.0).already_gone


def test_a_newer_object_of_the_same_name_is_left_alone(cluster: Cluster, manifest: Manifest) -> None:
    first = apply(cluster, manifest, run_id="r1")
    heal(cluster, first, 5.0)
    second = apply(cluster, manifest, run_id="r2")
    assert heal(cluster, first, 5.0).already_gone
    assert document(cluster, second)["metadata"]["uid"] == second.uid


@pytest.mark.usefixtures("two_sides")
def test_a_stuck_fault_is_not_called_healed_and_can_be_forced(
    cluster: Cluster, manifest: Manifest, mesh: MeshMaker
) -> None:
    with mesh("never lets go"):
        fault = apply(cluster, manifest, run_id="r1")
        await_injected(cluster, fault, 5.0)
        with pytest.raises(errors.NotHealedError, match="held by chaos-mesh/records") as raised:
            heal(cluster, fault, 0.3)
        assert not raised.value.definite
        done = escalate(cluster, fault, 1.0)
    assert done.steps[-1] == "took the finalizers away"
    assert heal(cluster, fault, 1.0).already_gone


@pytest.mark.usefixtures("two_sides")
def test_residue_is_ours_only_and_sweeps_away(
    cluster: Cluster, manifest: Manifest, mesh: MeshMaker, namespace: str
) -> None:
    foreign = override(manifest, name="theirs")
    cluster.request("POST", foreign.row.path(namespace), body=foreign.body())
    with mesh("obeys"):
        short = apply(cluster, override(manifest, name="short", duration_s=1), run_id="r1")
        long = apply(cluster, override(manifest, name="long", duration_s=600), run_id="r2")
        assert {one.run_id for one in residue(cluster, namespace)} == {"r1", "r2"}
        assert [one.applied.name for one in residue(cluster, namespace, "r2")] == ["long"]
        clock = ManualClock(short.created_s + 2)
        report = sweep(cluster, namespace, only_expired=True, clock=clock)
        assert [one.applied.name for one in report.healed] == ["short"]
        assert [one.applied.name for one in report.left_alone] == ["long"]
        assert not report.clean
        assert residue(cluster, namespace)[0].live(clock.wall_s())
        assert not residue(cluster, namespace)[0].live(long.expires_s)
        assert sweep(cluster, namespace).clean
    assert residue(cluster, namespace) == ()
    assert cluster.get(foreign.row.path(namespace, "theirs"), dict[str, Any])


@pytest.mark.parametrize("injected", [True, False])
def test_a_kill_that_has_happened_is_over_whatever_its_duration_says(
    cluster: Cluster, namespace: str, *, injected: bool
) -> None:
    selector = {"namespaces": [namespace], "labelSelectors": {"app": "vllm"}}
    spec = {"action": "pod-kill", "mode": "one", "selector": selector, "duration": "10m"}
    kill = {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": "PodChaos",
        "metadata": {"name": "k"},
        "spec": spec,
    }
    fault = apply(cluster, override(parse_manifest(kill), namespace=namespace), run_id="r1")
    record = {
        "id": f"{namespace}/engine-0",
        "selectorKey": ".",
        "phase": "Injected",
        "injectedCount": 1,
        "recoveredCount": 0,
    }
    met = [{"type": "AllInjected", "status": "True"}]
    status = {"conditions": met, "experiment": {"desiredPhase": "Run", "containerRecords": [record]}}
    if injected:
        cluster.request("PATCH", fault.path, body={"status": status}, content_type=MERGE_PATCH)
    (left,) = residue(cluster, namespace)
    assert left.live(fault.created_s + 1.0) is not injected
    assert sweep(cluster, namespace).clean


@pytest.mark.usefixtures("two_sides")
def test_a_piece_that_does_not_go_is_reported(
    cluster: Cluster, manifest: Manifest, mesh: MeshMaker, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resync.cluster.residues.HEAL_S_MAX", 0.3)
    with mesh("never lets go"):
        fault = apply(cluster, manifest, run_id="r1")
        await_injected(cluster, fault, 5.0)
        report = sweep(cluster, namespace)
        assert not report.clean
        assert "held by" in report.failed[0].reason
        escalate(cluster, fault, 1.0)


def test_a_living_controller_answers_and_leaves_nothing(
    cluster: Cluster, mesh: MeshMaker, namespace: str
) -> None:
    with mesh("obeys"):
        found = require_alive(cluster, namespace, run_id="r1")
    assert "NetworkChaos" in found.kinds
    assert found.answered_s < 5.0
    assert residue(cluster, namespace) == ()


def test_a_silent_one_is_an_error_and_leaves_nothing(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(errors.MeshSilentError, match="neither begin nor end"):
        require_alive(cluster, namespace, run_id="r1", timeout_s=0.3)
    assert residue(cluster, namespace) == ()


def test_kinds_that_are_not_installed_are_skipped_knowingly(cluster: Cluster) -> None:
    found = {kind.kind for kind in installed(cluster)}
    assert "NetworkChaos" in found
    assert found < set(KINDS), "the lab serves some of the kinds that the table knows"


def test_a_cluster_without_any_kind_is_the_wrong_one_not_a_clean_one(
    tmp_path: Path, manifest: Manifest
) -> None:
    bare = override(manifest, namespace="default")
    with start_api(tmp_path, bare=True) as process, Cluster.connect(process.kubeconfig) as cluster:
        for attempt in (
            lambda: residue(cluster, "default"),
            lambda: sweep(cluster, "default"),
            lambda: apply(cluster, bare, run_id="r1"),
            lambda: require_alive(cluster, "default", run_id="r1"),
        ):
            with pytest.raises(errors.MeshMissingError, match="install Chaos Mesh") as raised:
                attempt()
            assert raised.value.definite


@pytest.mark.usefixtures("two_sides")
def test_targets_are_resolved_before(cluster: Cluster, manifest: Manifest, namespace: str) -> None:
    found = resolve(cluster, manifest, pods_max=3)
    assert [pod.name for pod in found.source] == ["gateway-0"]
    assert [pod.name for pod in found.target] == ["engine-0", "engine-1"]
    with pytest.raises(errors.TooManyTargetsError, match=f"3 pods, more than the limit of 2: {namespace}/"):
        resolve(cluster, manifest, pods_max=2)
    nobody = override(manifest, target_selector={"app": "engine"})
    with pytest.raises(errors.NoTargetsError) as raised:
        resolve(cluster, nobody)
    assert '"app":"engine"' in str(raised.value)
    assert "engine-0 (Running; app=vllm)" in str(raised.value)


def test_an_empty_namespace_is_said_to_be_empty(cluster: Cluster, manifest: Manifest) -> None:
    with pytest.raises(errors.NoTargetsError, match="no pods there at all"):
        resolve(cluster, manifest)


def test_a_replaced_fault_is_not_taken_for_ours(cluster: Cluster, manifest: Manifest) -> None:
    fault = apply(cluster, manifest, run_id="r1")
    other = msgspec.structs.replace(fault, uid="somebody-else")
    with pytest.raises(errors.NotInjectedError, match="was replaced"):
        await_injected(cluster, other, 30.0)
