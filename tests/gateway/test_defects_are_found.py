"""Each deliberate defect shows in the observer as predicted, to the block; without one nothing shows."""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from resync.gateway.flaws import SLOW_IN_A_ROW, SLOW_S
from resync.kits.waits import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

HEALTHY_S = 10.0
HEALTHY_CUTS = 30
CALM_S = 3.0
"""Of a short heartbeat without a delay; with one, the three engines lose a connection in a tenth of it."""
LOST = "aibrix_kvcache_zmq_disconnections_total"


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
    while time.monotonic() < ends or pages[-1].total("resync_cuts_total") - cuts < HEALTHY_CUTS:
        seen = pages[-1].total("resync_cuts_total")
        pages.append(
            observer.wait_for("another cut", lambda page, seen=seen: page.total("resync_cuts_total") > seen)
        )
    last = pages[-1]
    assert [page.divergence() for page in pages if page.divergence()] == []
    assert last.total("resync_divergent_cuts_total") == 0
    assert removed(last) > removed(busy)
    assert last.total("resync_observer_failures_total") == busy.total("resync_observer_failures_total")
    page = gateway.page()
    for engine in fleet.engines:
        labels = {"pod_key": engine.pod_key}
        assert page.value("resync_gateway_source_exact", **labels) == 1
        assert page.value("resync_gateway_gaps_total", **labels) == 0
        assert page.value("aibrix_kvcache_zmq_connection_status", **labels) == 1


def quiet(fleet: Any, *flags: str) -> tuple[Any, Any]:
    """A gateway and an observer without traffic, once the observer compares."""
    gateway = fleet.gateway(*flags)
    observer = fleet.observer(gateway)
    observer.wait_for("cuts", lambda page: page.total("resync_cuts_total") >= 2)
    return gateway, observer


def caught_up(page: Any) -> bool:
    """True when every engine's last batch is applied and something was published."""
    return bool(page.by_pod("resync_published_sequence") == page.by_pod("resync_applied_sequence"))


def after_more_cuts(observer: Any, many: int = 4) -> Any:
    """A page `many` cuts later, once the gateway has caught up."""
    before = observer.page().total("resync_cuts_total")
    return observer.wait_for(
        "later cuts", lambda page: page.total("resync_cuts_total") >= before + many and caught_up(page)
    )


def evict_elsewhere(fleet: Any, complete: Any, prompt_of: Any) -> None:
    """Have engines 0 and 1 hold the same ten blocks, then make engine 0 evict them."""
    for engine in fleet.engines[:2]:
        complete(engine, prompt_of(10, seed=1))
    for seed in range(2, 16):
        complete(fleet.engines[0], prompt_of(10, seed=seed))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param((), {}, id="healthy"),
        pytest.param(
            ("--flaw", "removal-for-all-pods:0"), {("default/engine-1", "missing"): 10}, id="defect"
        ),
    ],
)
def test_a_removal_that_reaches_every_pod_is_missing_on_the_other(
    fleet: Any, complete: Any, prompt_of: Any, flags: tuple[str, ...], expected: dict[tuple[str, str], int]
) -> None:
    _gateway, observer = quiet(fleet, *flags)
    evict_elsewhere(fleet, complete, prompt_of)
    page = after_more_cuts(observer)
    assert removed(page) >= 10
    assert page.value("resync_truth_blocks", pod_key="default/engine-1") == 10
    assert page.divergence() == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param((), {}, id="healthy"),
        pytest.param(("--flaw", "unchained:0"), {("default/engine-0", "mis-hashed"): 9}, id="defect"),
    ],
)
def test_blocks_that_are_not_chained_are_mis_hashed(
    fleet: Any, complete: Any, prompt_of: Any, flags: tuple[str, ...], expected: dict[tuple[str, str], int]
) -> None:
    _gateway, observer = quiet(fleet, *flags)
    complete(fleet.engines[0], prompt_of(10, seed=1))
    page = after_more_cuts(observer)
    assert page.value("resync_truth_blocks", pod_key="default/engine-0") == 10
    assert page.divergence() == expected


def test_a_frozen_gateway_is_late_and_not_wrong_and_goes_on_answering(
    fleet: Any, complete: Any, prompt_of: Any
) -> None:
    gateway = fleet.gateway("--flaw", "frozen-sequence:6")
    complete(fleet.engines[0], prompt_of(3, seed=1))
    # All that must not take longer than the flaw's 6 s; the observer finds the same before and after.
    gateway.wait_for("its blocks", lambda page: page.value("resync_gateway_index_blocks") == 3)
    observer = fleet.observer(gateway)
    before = after_more_cuts(observer)
    assert before.value("resync_index_blocks", gateway=gateway.pod_key, pod_key="default/engine-0") == 3
    labels = {"gateway": gateway.pod_key, "pod_key": "default/engine-0"}

    seeds = itertools.count(2)

    def frozen() -> Any:
        assert complete(fleet.engines[0], prompt_of(10, seed=next(seeds)))[0] == 200
        page = observer.page()
        return page if page.value("resync_staleness_seconds", **labels) >= 2 else None

    page = wait_until(frozen, what="staleness", timeout_s=30, every_s=0.3)
    assert page is not None
    assert page.value("resync_staleness_blocks", **labels) >= 10
    assert page.value("resync_published_sequence", pod_key="default/engine-0") > page.value(
        "resync_applied_sequence", **labels
    )
    assert page.divergence() == {}
    assert complete(gateway, prompt_of(3, seed=1))[0] == 200
    here = {"pod_key": "default/engine-0"}
    assert gateway.page().value("resync_gateway_source_exact", **here) == 1
    assert gateway.get("/health")


def wait_for_checks(gateway: Any, what: str, counts: Callable[[float], bool]) -> None:
    """Wait until three health checks of each engine whose round trip `counts` have been seen."""
    seen: set[tuple[str, float]] = set()

    def enough(page: Any) -> bool:
        stamps = page.by_pod("resync_gateway_engine_rtt_timestamp_seconds")
        trips = page.by_pod("resync_gateway_engine_rtt_seconds")
        seen.update((pod, stamps[pod]) for pod, trip_s in trips.items() if counts(trip_s))
        checks = Counter(pod for pod, _stamp in seen)
        return len(checks) == 3 and min(checks.values()) >= SLOW_IN_A_ROW

    gateway.wait_for(what, enough, timeout_s=30)


def test_a_frozen_gateway_freezes_only_once_a_delay_is_there(
    fleet: Any, complete: Any, prompt_of: Any
) -> None:
    relays = fleet.relays()
    gateway, observer = quiet(fleet, "--flaw", "frozen-sequence")
    complete(fleet.engines[0], prompt_of(3, seed=1))
    after_more_cuts(observer, 8)
    wait_for_checks(gateway, "quick checks", lambda trip_s: trip_s < SLOW_S)
    put_50_ms_away(relays)
    wait_for_checks(gateway, "slow checks", lambda trip_s: trip_s > 0.1)
    complete(fleet.engines[0], prompt_of(10, seed=2))
    labels = {"gateway": gateway.pod_key, "pod_key": "default/engine-0"}
    page = observer.wait_for("staleness", lambda page: page.value("resync_staleness_seconds", **labels) >= 1)
    assert page.value("resync_staleness_blocks", **labels) == 10
    assert page.divergence() == {}


def test_metrics_that_fall_silent_differ_from_what_the_index_says(
    fleet: Any, complete: Any, prompt_of: Any
) -> None:
    gateway, observer = quiet(fleet, "--flaw", "silent-metrics:0")
    for seed in range(1, 5):
        complete(fleet.engines[0], prompt_of(2, seed=seed))
    page = after_more_cuts(observer)
    assert page.divergence() == {}
    assert page.value("resync_applied_sequence", gateway=gateway.pod_key, pod_key="default/engine-0") >= 3
    here = {"pod_key": "default/engine-0"}
    assert gateway.page().value("resync_gateway_applied_sequence", **here) == -1


def under_load(fleet: Any, *flags: str) -> tuple[Any, Any, Any]:
    """Gateway, observer and traffic, once blocks are evicted without a delay."""
    gateway, observer = quiet(fleet, *flags)
    traffic = fleet.traffic(gateway)
    observer.wait_for("evictions", lambda page: removed(page) > 60, timeout_s=30)
    return gateway, observer, traffic


def put_50_ms_away(relays: Any) -> None:
    """Every engine, from now on."""
    for relay in relays:
        relay.delay_s = 0.05


def test_a_delay_alone_makes_nothing_wrong(fleet: Any) -> None:
    relays = fleet.relays()
    gateway, observer, _traffic = under_load(fleet)
    assert observer.page().total("resync_divergent_cuts_total") == 0
    assert gateway.page().total("resync_gateway_source_exact") == 3
    put_50_ms_away(relays)
    pages = [after_another_cut(observer) for _ in range(24)]
    assert [page.divergence() for page in pages if page.divergence()] == []
    assert gateway.page().total("resync_gateway_source_exact") == 3
    assert gateway.page().total(LOST) == 0


def late_s(page: Any) -> float:
    """How stale the index of the stalest engine is."""
    stale = [value for (name, _labels), value in page.samples.items() if name == "resync_staleness_seconds"]
    return float(max(stale))


def wait_for_calm(troubles: Callable[[], float]) -> None:
    """Wait until none is added for CALM_S.

    A machine that stands still for 80 ms loses a connection with a short heartbeat, without any delay.
    """
    seen, since_s = troubles(), time.monotonic()

    def calm() -> bool:
        nonlocal seen, since_s
        if (now := troubles()) != seen:
            seen, since_s = now, time.monotonic()
        return time.monotonic() - since_s >= CALM_S

    wait_until(calm, what=f"{CALM_S:g} s without trouble", timeout_s=60, every_s=0.1)


def lose_every_connection(gateway: Any, relays: Any) -> None:
    """By a delay that none survives.

    One of 50 ms that sets in at the right moment may be survived: from then on an answer comes every 40 ms.
    """
    before = gateway.page().by_pod(LOST)
    for relay in relays:
        relay.delay_s = 0.15
    gateway.wait_for(
        "every connection to be lost",
        lambda page: all(page.by_pod(LOST)[pod] > many for pod, many in before.items()),
        timeout_s=20,
    )


def test_a_short_heartbeat_loses_a_silent_engine_again_and_again(fleet: Any) -> None:
    """Without anything said in between every connection is given up before its first answer can be there."""
    relays = fleet.relays()
    gateway = fleet.gateway("--flaw", "short-heartbeat").wait_until_whole(engines=3)
    wait_for_calm(lambda: gateway.page().total(LOST))
    lose_every_connection(gateway, relays)
    put_50_ms_away(relays)
    before = gateway.page().total(LOST)
    gateway.wait_for(
        "connections that are lost again and again",
        lambda page: page.total(LOST) >= before + 9,
        timeout_s=20,
    )


def test_a_short_heartbeat_is_late_or_wrong_from_the_first_silence_on(fleet: Any) -> None:
    """An engine that says something within each 80 ms keeps its connection, so silence has to come first.

    Then none gets as far as a complete replay again. So what is published is never applied: late without end;
    or it is heard, shows a gap, and with its replays what was known is given up: missing.
    """
    relays = fleet.relays()
    gateway, observer, traffic = under_load(fleet, "--flaw", "short-heartbeat")
    wait_for_calm(lambda: gateway.page().total(LOST) + observer.page().total("resync_divergent_cuts_total"))
    gateway.wait_for("what it is", lambda page: page.total("resync_gateway_source_exact") == 3)
    observer.wait_for("a right index", lambda page: page.divergence() == {})
    traffic.stop()
    lose_every_connection(gateway, relays)
    put_50_ms_away(relays)
    fleet.traffic(gateway, seed=1)
    observer.wait_for(
        "an engine that is late beyond what a run allows, or blocks that are missing",
        lambda page: late_s(page) >= 2 or any(kind == "missing" for _pod, kind in page.divergence()),
        timeout_s=20,
    )


def after_another_cut(observer: Any) -> Any:
    """The next cut's page."""
    before = observer.page().total("resync_cuts_total")
    return observer.wait_for("another cut", lambda page: page.total("resync_cuts_total") > before)
