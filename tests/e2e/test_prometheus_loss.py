"""Prometheus goes while a run measures: nothing is proven, the run says so, and it comes back."""

from typing import Any

import pytest

from resync.cluster.pods import Pod, list_pods
from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle
from resync.run.records import FaultHealed

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

Run = Any
EVERY_POD = 6


def prometheus(lab: LabHandle) -> Pod:
    with lab.cluster() as cluster:
        (pod,) = list_pods(cluster, lab.namespace, "app=prometheus")
    return pod


@pytest.mark.scenario("failure/prometheus-loss")
def test_a_run_that_loses_its_prometheus_is_void_healed_and_says_what_to_do(lab: LabHandle, run: Run) -> None:
    before = prometheus(lab)
    ran = run("prometheus-loss", RESYNC_FAULT_DURATION="30s")
    assert (ran.code, ran.line["verdict"]) == (2, "void"), ran.told()
    assert lab.prometheus_url in ran.line["reason"], ran.line["reason"]
    assert "see that Prometheus runs" in ran.line["next_step"]
    assert not ran.line["breaches"]
    assert [r.by for r in ran.records() if isinstance(r, FaultHealed)], "it was left to its expiry"
    ran.is_honest()
    wait_until(
        lambda: prometheus(lab).ready and prometheus(lab).restart_count > before.restart_count,
        what="Prometheus to be back in place",
        timeout_s=30,
    )
    assert prometheus(lab).uid == before.uid
    wait_until(
        lambda: len(lab.query("up == 1")) == EVERY_POD,
        what="every pod to be scraped again",
        timeout_s=60,
        every_s=0.2,
    )
