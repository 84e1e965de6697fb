"""Each deliberate defect shows in the observer as predicted; without one, nothing shows under the same
load."""

import time
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]

HEALTHY_S = 10.0


def observed(fleet: Any, *flags: str) -> tuple[Any, Any]:
    gateway = fleet.gateway(*flags)
    observer = fleet.observer(gateway)
    fleet.traffic(gateway)
    return gateway, observer


def removed(page: Any) -> float:
    return float(page.total("resync_blocks_removed_total"))


def test_a_healthy_gateway_shows_nothing_under_load(fleet: Any) -> None:
    gateway, observer = observed(fleet)
    busy = observer.wait_for("evictions on every engine", lambda page: removed(page) > 150, timeout_s=30)
    cuts, ends = busy.total("resync_cuts_total"), time.monotonic() + HEALTHY_S
    pages = [busy]
    while time.monotonic() < ends:
        seen = pages[-1].total("resync_cuts_total")
        pages.append(
            observer.wait_for("another cut", lambda page, seen=seen: page.total("resync_cuts_total") > seen)
        )
    last = pages[-1]
    assert [page.divergence() for page in pages if page.divergence()] == []
    assert last.total("resync_divergent_cuts_total") == 0
    assert last.total("resync_cuts_total") - cuts >= 3 * HEALTHY_S
    assert removed(last) > removed(busy)
    assert last.total("resync_observer_failures_total") == busy.total("resync_observer_failures_total")
    page = gateway.page()
    for engine in fleet.engines:
        labels = {"pod_key": engine.pod_key}
        assert page.value("resync_gateway_source_exact", **labels) == 1
        assert page.value("resync_gateway_gaps_total", **labels) == 0
        assert page.value("aibrix_kvcache_zmq_connection_status", **labels) == 1
