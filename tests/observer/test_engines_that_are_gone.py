"""A cut with an engine whose process is gone: nothing is held there, and the others are compared as ever."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any

import aiohttp
import pytest

from resync.kits.clocks import SystemClock
from resync.kits.waits import wait_until
from resync.observer.absences import Allowances
from resync.observer.asking import Asker
from resync.observer.audits import Audit, Timing
from resync.observer.fleets import Peer
from resync.observer.metrics import Metrics

pytestmark = pytest.mark.integration

GATEWAY = "default/gateway-0"
E0, E1 = "default/engine-0", "default/engine-1"
TIMING = Timing(cut_every_s=0.05, control_phase_timeout_s=5.0, allowances=Allowances())


def audited(stage: Any, metrics: Metrics, *, unready: AbstractSet[str], until: Any) -> None:
    """Let an audit run until `until()`."""

    async def run() -> None:
        peers = {pod: Peer(pod, f"http://127.0.0.1:{stage.ports[pod]}") for pod in (E0, E1)}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            audit = Audit(
                Peer(GATEWAY, f"http://127.0.0.1:{stage.ports[GATEWAY]}"),
                asker=Asker(session),
                engines=lambda: peers,
                unready=lambda: unready,
                metrics=metrics,
                clock=SystemClock(),
                timing=TIMING,
            )
            task = asyncio.create_task(audit.run())
            await asyncio.to_thread(wait_until, until, what="the cuts", timeout_s=5.0, every_s=0.01)
            task.cancel()

    asyncio.run(run())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def cuts(metrics: Metrics) -> float:
    return value(metrics, "resync_cuts_total", gateway=GATEWAY) or 0.0


def wrong(metrics: Metrics, pod: str, kind: str) -> float | None:
    return value(metrics, "resync_divergence_blocks", gateway=GATEWAY, pod_key=pod, kind=kind)


def test_what_is_believed_of_a_process_that_is_gone_is_phantom(stage: Any) -> None:
    stage.agree()
    metrics = Metrics()
    audited(stage, metrics, unready=frozenset(), until=lambda: cuts(metrics) >= 2)
    assert wrong(metrics, E0, "phantom") == 0
    stage.kill_engine(E0)
    before = cuts(metrics)
    audited(stage, metrics, unready={E0}, until=lambda: cuts(metrics) >= before + 2)
    assert wrong(metrics, E0, "phantom") == 3
    assert wrong(metrics, E1, "phantom") == 0
    assert value(metrics, "resync_published_sequence", pod_key=E0) is None
    assert value(metrics, "resync_published_sequence", pod_key=E1) == 10


def test_an_index_that_forgot_it_is_right(stage: Any) -> None:
    stage.agree()
    stage.gateway.pods[E0] = (-1, set())
    stage.kill_engine(E0)
    metrics = Metrics()
    audited(stage, metrics, unready={E0}, until=lambda: cuts(metrics) >= 2)
    assert wrong(metrics, E0, "phantom") == 0
    assert value(metrics, "resync_divergent_cuts_total", gateway=GATEWAY) == 0


def test_silence_of_an_engine_that_is_called_ready_is_not_its_end(stage: Any) -> None:
    stage.agree()
    stage.kill_engine(E0)
    metrics = Metrics()

    def failures() -> float:
        return value(metrics, "resync_observer_failures_total", reason="truth_unreachable") or 0.0

    audited(stage, metrics, unready={E1}, until=lambda: failures() >= 2)
    assert cuts(metrics) == 0
