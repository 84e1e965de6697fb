"""A run is killed while its fault stands, whatever the kind: it ends by its own expiry, seen from outside."""

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from resync.cluster.errors import NotFoundError
from resync.cluster.leases import NAME as LEASE
from resync.cluster.pods import list_pods
from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle
from resync.run.records import FaultInjected

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Begin = Any
Command = Callable[..., Any]
Standing = Callable[[], list[dict[str, Any]]]
Shows = Callable[[LabHandle, str], bool]
USUAL_RATE = 30.0
PATIENCE_S = 0.7


def addresses(lab: LabHandle) -> dict[str, str]:
    with lab.cluster() as cluster:
        return {pod.pod_key: str(pod.ip) for pod in list_pods(cluster, lab.namespace)}


def page(url: str) -> str | None:
    """What stands there, None when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310 - loopback
            return str(answer.read().decode())
    except (urllib.error.URLError, TimeoutError, OSError):
        return None


def is_cut_off(lab: LabHandle, pod: str) -> bool:
    """Whether a new connection from the gateway's own address to that engine hangs."""
    ips = addresses(lab)
    a, b, _, n = ips["default/gateway-0"].split(".")
    try:
        with socket.create_connection((ips[pod], 8000), PATIENCE_S, source_address=(f"{a}.{b}.1.{n}", 0)):
            return False
    except TimeoutError:
        return True


def is_gone(lab: LabHandle, pod: str) -> bool:
    return page(f"http://{addresses(lab)[pod]}:8000/health") is None


def surges(lab: LabHandle, pod: str) -> bool:
    url = f"http://{addresses(lab)[pod]}:9101/metrics"
    metrics = wait_until(lambda: page(url), what="the load's page", timeout_s=10.0) or ""
    (rate,) = [line.split()[1] for line in metrics.splitlines() if line.startswith("resync_load_asked_rate ")]
    return float(rate) > USUAL_RATE


FAULTS: dict[str, tuple[Shows, float]] = {
    "network-partition": (is_cut_off, 1.0),
    "network-partition-reset": (is_cut_off, 1.0),
    "pod-failure": (is_gone, 6.0),
    "high-load": (surges, 1.0),
}
"""How each is seen from outside, and how long after its expiry it may still be: a process has to start.

A look that began before the expiry may take until `PATIENCE_S` after it.
"""


NIGHTLY = {"network-partition"}
"""Another of the same kind is killed in every test run."""

TIER = [pytest.param(name, marks=[pytest.mark.nightly] if name in NIGHTLY else []) for name in FAULTS]


@pytest.mark.parametrize("experiment", TIER)
@pytest.mark.scenario("failure/killed-run", "failure/swept")
def test_it_ends_by_its_own_expiry_and_can_be_swept(
    lab: LabHandle, brought_to: Begin, standing: Standing, command: Command, experiment: str
) -> None:
    shows, late_s = FAULTS[experiment]
    running = brought_to("effect-proven", experiment, RESYNC_FAULT_DURATION="6s")
    running.process.kill()
    running.finished()
    (injected,) = [r for r in running.evidence() if isinstance(r, FaultInjected)]
    pod = next(p for p in injected.pods if p != "default/gateway-0")
    assert shows(lab, pod), "the fault ended with the run that was killed"
    wait_until(
        lambda: not shows(lab, pod),
        what="the fault to end by itself",
        timeout_s=max(0.0, injected.expires_s - time.time()) + PATIENCE_S + late_s,
    )
    assert time.time() > injected.expires_s - PATIENCE_S - 1.0, "somebody ended it before its time"
    assert command("verdict").returncode == 2
    with lab.cluster() as cluster, suppress(NotFoundError):
        cluster.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{lab.namespace}/leases/{LEASE}")
    left = [fault["metadata"]["name"] for fault in standing()]
    assert bool(left) is (experiment != "high-load"), "an expired object stays until it is swept"
    swept = command("sweep")
    assert swept.returncode == 0, swept.stdout
    assert all(name in swept.stdout for name in left)
    assert not standing()
