"""The experiments beside the delay: a healthy system passes, with its recovery in intervals."""

import re
from typing import Any

import pytest

from resync.cluster.connecting import MERGE_PATCH
from resync.cluster.pods import list_pods, pods_path
from resync.lab.handle import LabHandle
from resync.run.records import FaultInjected

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Run = Any
LONGER = {"RESYNC_FAULT_DURATION": "6s"}
"""A path is called silent after a second, a process ends and begins in about as long."""


def recovered(ran: Any, stage: str) -> tuple[float, float]:
    """The interval of that stage; fails when it was not reached."""
    (found,) = [s["between_s"] for s in ran.line["recovery"] if s["stage"] == stage]
    earliest, latest = found
    assert latest is not None, found
    return earliest, latest


def touched(ran: Any) -> str:
    (pod,) = ran.line["effect"]["pods"]
    return str(pod)


@pytest.mark.scenario("failure/network-partition")
def test_a_partition_heals_with_the_next_retransmission_and_is_caught_up(run: Run) -> None:
    ran = run("network-partition", **LONGER)
    assert ran.code == 0, ran.told()
    assert f"a partition between {touched(ran)} and default/gateway-0" in ran.line["reason"]
    earliest, latest = recovered(ran, "converged")
    assert 0 <= earliest < latest, "nothing was lost, but what was held up comes with a retransmission only"
    judged = {(c["claim"], c["phase"]) for c in ran.line["claims"]}
    assert ("routed-hits", "fault") not in judged
    assert {("divergence", "fault"), ("converged", "recovery"), ("routed-hits", "after")} <= judged
    ran.is_honest()


@pytest.mark.scenario("failure/network-partition-reset")
def test_what_a_reset_loses_is_asked_for_comes_complete_and_the_index_is_right_again(run: Run) -> None:
    ran = run("network-partition-reset", **LONGER)
    assert ran.code == 0, ran.told()
    asked, complete = recovered(ran, "replay-asked"), recovered(ran, "replay-complete")
    assert asked[0] <= complete[1]
    (replays,) = [c for c in ran.line["claims"] if c["claim"] == "replays"]
    assert (replays["phase"], replays["outcome"]) == ("recovery", "held")
    judged = {(c["claim"], c["phase"]) for c in ran.line["claims"] if c["outcome"] == "held"}
    assert {("divergence", "recovery"), ("gaps", "recovery"), ("divergence", "after")} <= judged
    said = {c["claim"]: c["detail"] for c in ran.line["claims"] if c["phase"] in {"recovery", "after"}}
    assert "+ 0 superseded + 0 irrecoverable" in said["ledger"]
    assert "held prompts were routed to their holder" in said["routing-audit"]
    ran.is_honest()


def test_a_failure_that_somebody_undoes_while_the_mesh_reports_it_proves_nothing(
    lab: LabHandle, brought_to: Run
) -> None:
    with lab.cluster() as cluster:
        as_they_were = {
            pod: cluster.get(f"{pods_path(lab.namespace)}/{pod}", dict[str, Any])["spec"]["containers"]
            for pod in ("engine-0", "engine-1", "engine-2")
        }
    running = brought_to("fault-injected", "pod-failure", RESYNC_FAULT_DURATION="30s")
    (injected,) = [r for r in running.evidence() if isinstance(r, FaultInjected)]
    (name,) = [pod.rpartition("/")[2] for pod in injected.pods]
    undone = {"spec": {"containers": as_they_were[name]}}
    with lab.cluster() as cluster:
        cluster.request("PATCH", f"{pods_path(lab.namespace)}/{name}", body=undone, content_type=MERGE_PATCH)
    ran = running.finished()
    assert ran.code == 2, ran.told()
    assert f"default/{name} answered a scrape" in ran.line["reason"], ran.told()
    ran.is_honest()


@pytest.mark.scenario("failure/pod-failure")
def test_an_engine_that_fails_comes_back_in_place_and_its_index_is_right_again(
    lab: LabHandle, run: Run
) -> None:
    with lab.cluster() as cluster:
        before = {p.pod_key: p for p in list_pods(cluster, lab.namespace)}
    ran = run("pod-failure", **LONGER)
    assert ran.code == 0, ran.told()
    with lab.cluster() as cluster:
        now = {p.pod_key: p for p in list_pods(cluster, lab.namespace)}
    failed = touched(ran)
    assert (now[failed].uid, now[failed].ip) == (before[failed].uid, before[failed].ip)
    assert now[failed].restart_count > before[failed].restart_count
    noticed, converged = recovered(ran, "noticed"), recovered(ran, "converged")
    assert noticed[1] < 0, "a process that ends is noticed while it is gone"
    assert converged[1] > 0
    ran.is_honest()


SHORT_RING = '{"enable_kv_cache_events": true, "replay_endpoint": "tcp://*:5558", "buffer_steps": 16}'


@pytest.mark.own_lab
@pytest.mark.nightly
def test_a_partition_longer_than_the_ring_fails_for_what_is_missing_and_names_the_degraded_source(
    run: Run, fresh_lab: Any
) -> None:
    """Nobody can know what the ring has lost: blocks are missing, nothing that is believed is untrue."""
    options = ("--engine-arg=--kv-events-config", f"--engine-arg={SHORT_RING}")
    load = ("--load-arg=--bypass-share", "--load-arg=0.5")
    ran = run(
        "network-partition-reset",
        where=fresh_lab(*options, *load),
        **LONGER,
        RESYNC_CONVERGENCE_LIMIT="3s",
    )
    assert ran.code == 1, ran.told()
    says = rf"[\d.]+ missing blocks on {touched(ran)} at one cut, and the gateway calls that source degraded"
    assert re.match(says, ran.line["reason"]), ran.told()
    assert not re.search("phantom|misattributed|mis-hashed", ran.told())
    ran.is_honest()
