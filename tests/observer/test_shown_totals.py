"""A mirrored total says what its source says, starts anew with each life, and leaves no series behind."""

import pytest
from prometheus_client import generate_latest

from resync.observer.metrics import Metrics
from resync.observer.records import Truth

pytestmark = pytest.mark.unit

POD = "default/engine-0"


def truth(incarnation: str, stored: int) -> Truth:
    return Truth(
        incarnation=incarnation,
        seq=0,
        published_seq=7,
        blocks=[],
        changed_blocks=0,
        oldest_pending_s=None,
        stored_total=stored,
        removed_total=0,
    )


def stored(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("resync_blocks_stored_total", {"pod_key": POD})


def test_it_says_what_the_source_says() -> None:
    metrics = Metrics()
    for total in (10, 10, 25):
        metrics.show_engine(POD, truth("a", total))
        assert stored(metrics) == total


def test_a_new_life_starts_anew() -> None:
    metrics = Metrics()
    metrics.show_engine(POD, truth("a", 25))
    metrics.show_engine(POD, truth("b", 40))
    assert stored(metrics) == 40


def test_one_life_is_shown_at_a_time() -> None:
    metrics = Metrics()
    for life in ("a", "b"):
        metrics.show_engine(POD, truth(life, 1))
    shown = [
        metrics.registry.get_sample_value("resync_incarnation", {"pod_key": POD, "incarnation": life})
        for life in ("a", "b")
    ]
    assert shown == [None, 1]


def test_nothing_is_left_of_pods_and_gateways_that_left() -> None:
    metrics = Metrics()
    metrics.gateway_appeared("default/gateway-0")
    metrics.show_engine(POD, truth("a", 25))
    metrics.truth_blocks.set(3, POD)
    metrics.peer_rtt.set(0.001, POD)
    metrics.divergence.set(1, "default/gateway-0", POD, "missing")
    metrics.last_cut.set(1.0, "default/gateway-0")
    metrics.compared("default/gateway-0", POD, 5)
    metrics.forget_engine(POD)
    metrics.forget_gateway("default/gateway-0")
    page = generate_latest(metrics.registry).decode()
    assert POD not in page
    assert "gateway-0" not in page
