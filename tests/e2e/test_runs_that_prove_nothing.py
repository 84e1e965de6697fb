"""Runs that cannot prove anything are void: exit 2, one reason, a next step, healed, nothing left behind."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resync.cluster.connecting import MERGE_PATCH, Cluster
from resync.cluster.errors import NotFoundError
from resync.cluster.pods import PodWire, list_pods, pods_path
from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle
from resync.run.records import ResidueSwept

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Run = Any
Standing = Callable[[], list[dict[str, Any]]]
FreshLab = Callable[..., LabHandle]
UNSTEADY = {"RESYNC_STEADY_LIMIT": "5s"}
"""For what will never be steady: no need to wait for it as long as a person would."""

FAULTS = "/apis/chaos-mesh.org/v1alpha1/namespaces/default/networkchaos"
NETWORKS = "/apis/chaos-mesh.org/v1alpha1/namespaces/default/podnetworkchaos"


def proves_nothing(ran: Any, says: str) -> None:
    assert ran.code == 2, ran.told()
    assert ran.line["verdict"] == "void"
    assert re.search(says, ran.line["reason"]), ran.told()
    assert ran.line["next_step"]
    ran.is_honest()


@pytest.mark.scenario("failure/nothing-selected")
def test_a_selector_that_matches_nothing(run: Run) -> None:
    proves_nothing(run(RESYNC_ENGINE_SELECTOR="app=nobody"), "matches no pod")


IGNORED = {
    "network-delay": r"the round trip to default/engine-\d is",
    "network-partition": r"a round trip to default/engine-\d came through",
    "network-partition-reset": r"a round trip to default/engine-\d came through",
}


@pytest.mark.own_lab
@pytest.mark.timeout(300)
@pytest.mark.scenario("failure/no-effect")
def test_a_link_that_ignores_a_fault_while_the_mesh_says_injected(
    run: Run, fresh_lab: FreshLab, tmp_path: Path
) -> None:
    deaf = fresh_lab("--deaf-link")
    for experiment, says in IGNORED.items():
        directory = tmp_path / experiment
        directory.mkdir()
        proves_nothing(run(experiment, where=deaf, cwd=directory), f"reports the fault injected, but {says}")


@pytest.mark.scenario("failure/fault-ended-early")
def test_a_fault_that_somebody_deletes_in_the_window(
    lab: LabHandle, brought_to: Run, standing: Standing
) -> None:
    running = brought_to("effect-proven")
    (fault,) = standing()
    with lab.cluster() as cluster:
        cluster.request("DELETE", f"{FAULTS}/{fault['metadata']['name']}")
    proves_nothing(running.finished(), "lost its effect|was gone before the window ended")


@pytest.mark.own_lab
@pytest.mark.scenario("failure/metrics-lost")
def test_a_prometheus_that_is_deleted_in_the_window(brought_to: Run, fresh_lab: FreshLab) -> None:
    mine = fresh_lab()
    running = brought_to("effect-proven", where=mine)
    with mine.cluster() as cluster:
        cluster.request("DELETE", f"{pods_path(mine.namespace)}/prometheus-0")
    proves_nothing(running.finished(), "(?i)prometheus|could be seen")


def test_a_metric_that_must_move_and_does_not(lab: LabHandle, run: Run) -> None:
    with lab.replaced("gateway-0", ["--flaw", "silent-metrics:0"]):
        ran = run(**UNSTEADY)
        proves_nothing(ran, r"resync_gateway_applied_sequence.* does not move|batches published and not")


def test_a_load_that_dies_two_seconds_into_the_window(lab: LabHandle, brought_to: Run) -> None:
    with lab.replaced("load-0", []):
        running = brought_to("effect-proven", RESYNC_FAULT_DURATION="8s")
        started_s = running.evidence()[-1].at
        wait_until(lambda: now_s(lab) >= started_s + 2.0, what="second 2 of the window", timeout_s=5.0)
        with lab.cluster() as cluster:
            cluster.request("DELETE", f"{pods_path(lab.namespace)}/load-0")
        deleted_s = now_s(lab)
        ran = running.finished()
        proves_nothing(ran, r"the load stopped \d\.\d s into the window")
        stopped = re.search(r"the load stopped (\d\.\d) s into the window", ran.line["reason"])
        assert stopped is not None
        assert 1.0 <= float(stopped[1]) <= deleted_s - started_s + MARGIN_S


MARGIN_S = 1.0
"""The grace of its pod, and what lies between the proof of the effect and its record."""


def now_s(lab: LabHandle) -> float:
    """Prometheus' clock, which is this machine's."""
    return lab.query("vector(1)")[0].value[0]


@pytest.mark.own_lab
@pytest.mark.scenario("failure/never-exercised")
def test_nothing_held_and_nothing_indexed(run: Run, fresh_lab: FreshLab) -> None:
    """Two empty sets agree, and prove nothing."""
    proves_nothing(run(where=fresh_lab("--no-load"), **UNSTEADY), "does not move|is not there|not exercised")


def test_two_gateways_of_which_one_is_audited(lab: LabHandle, run: Run) -> None:
    path = pods_path(lab.namespace)
    with lab.cluster() as cluster:
        first = cluster.get(f"{path}/gateway-0", dict[str, Any])
        cluster.send("POST", path, second_gateway(first), PodWire)
        try:
            wait_until(
                lambda: any(
                    p.name == "second-gateway" and p.ready for p in list_pods(cluster, lab.namespace)
                ),
                what="the second gateway to be Ready",
                timeout_s=20.0,
            )
            proves_nothing(run(**UNSTEADY), r"1 of 2 gateways audited")
        finally:
            cluster.request("DELETE", f"{path}/second-gateway")
            wait_until(
                lambda: all(p.name != "second-gateway" for p in list_pods(cluster, lab.namespace)),
                what="the second gateway to be gone",
                timeout_s=20.0,
            )


def is_ready(cluster: Cluster, lab: LabHandle, name: str) -> bool:
    return any(pod.name == name and pod.ready for pod in list_pods(cluster, lab.namespace))


def second_gateway(first: dict[str, Any]) -> dict[str, Any]:
    """Beside the first, without an index view."""
    (container,) = first["spec"]["containers"]
    ip = first["status"]["podIP"].rsplit(".", 1)
    metadata = {
        "name": "second-gateway",  # a name that the gateway's own set would not take for one of its pods
        "namespace": first["metadata"]["namespace"],
        "labels": {"app": first["metadata"]["labels"]["app"]},
        "annotations": {"resync.dev/address": f"{ip[0]}.{int(ip[1]) + 1}"},
    }
    spec = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 2,
        "containers": [{**container, "args": [*container.get("args", []), "--no-index-view"]}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_rules_that_an_earlier_run_left_in_a_pod_are_swept_before_the_baseline(
    lab: LabHandle, run: Run
) -> None:
    """The fault object is gone and its rules are not: a mesh that lost track. The lab's mesh undoes them."""
    run_id = "20260101-000000-abcdef"
    name = f"network-delay-{run_id}"
    put_rules_into(lab, "engine-1", f"{lab.namespace}/{name}")
    ran = run()
    assert ran.code == 0, ran.told()
    (swept,) = [r for r in ran.records() if isinstance(r, ResidueSwept)]
    where = "(gone, but not its rules in the network of pod engine-1)"
    assert swept.names == [f"{lab.namespace}/{name} {where} of run {run_id}"]
    ran.is_honest()


def put_rules_into(lab: LabHandle, pod: str, source: str) -> None:
    """Delay what that pod sends to the gateway, as a share of `source`."""
    with lab.cluster() as cluster:
        gateway = cluster.get(f"{pods_path(lab.namespace)}/gateway-0", dict[str, Any])
        peers = {"source": source, "name": "left", "ipsetType": "hash:net"}
        rule = {"source": source, "type": "netem", "ipset": "left", "delay": {"latency": "200ms"}}
        spec = {"ipsets": [{**peers, "cidrs": [f"{gateway['status']['podIP']}/32"]}], "tcs": [rule]}
        try:
            held = cluster.get(f"{NETWORKS}/{pod}", dict[str, Any])
        except NotFoundError:
            owner = cluster.get(f"{pods_path(lab.namespace)}/{pod}", dict[str, Any])["metadata"]["uid"]
            reference = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": owner}
            metadata = {"name": pod, "namespace": lab.namespace, "ownerReferences": [reference]}
            kind = {"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "PodNetworkChaos"}
            cluster.request("POST", NETWORKS, body={**kind, "metadata": metadata, "spec": spec})
        else:
            version = {"resourceVersion": held["metadata"]["resourceVersion"]}
            body = {"metadata": version, "spec": spec}
            cluster.request("PATCH", f"{NETWORKS}/{pod}", body=body, content_type=MERGE_PATCH)
