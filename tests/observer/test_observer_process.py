"""The observer as a process between scripted peers: what it exports, and what it refuses to."""

import itertools
import subprocess
import sys
import time
from typing import Any

import pytest

pytestmark = pytest.mark.integration

GATEWAY = "default/gateway-0"
E0, E1 = "default/engine-0", "default/engine-1"
STOP_S_MAX = 2.0
ABSENCE_S = 0.5
"""What the observer is told to allow."""


def cuts(page: Any) -> float:
    return page.value("resync_cuts_total", gateway=GATEWAY) or 0.0


def failures(page: Any, reason: str) -> float:
    return page.value("resync_observer_failures_total", reason=reason) or 0.0


def next_cuts(observer: Any, many: int = 2) -> Any:
    before = cuts(observer.page())
    return observer.wait_for(f"{many} more cuts", lambda page: cuts(page) >= before + many)


def test_agreement_is_zero_for_every_pod_and_kind(observer: Any) -> None:
    page = next_cuts(observer)
    for pod in (E0, E1):
        for kind in ("missing", "phantom", "misattributed", "mis-hashed"):
            value = page.value("resync_divergence_blocks", gateway=GATEWAY, pod_key=pod, kind=kind)
            assert value == 0
        assert page.value("resync_audited_blocks_total", gateway=GATEWAY, pod_key=pod) >= 6
        assert page.value("resync_index_blocks", gateway=GATEWAY, pod_key=pod) == 3
        assert page.value("resync_applied_sequence", gateway=GATEWAY, pod_key=pod) == 10
        assert page.value("resync_published_sequence", pod_key=pod) == 10
        assert page.value("resync_staleness_seconds", gateway=GATEWAY, pod_key=pod) == 0
        assert page.value("resync_blocks_stored_total", pod_key=pod) == 100
        assert page.value("resync_blocks_removed_total", pod_key=pod) == 50
    assert page.value("resync_divergent_cuts_total", gateway=GATEWAY) == 0
    assert page.value("resync_gateways_selected") == 1
    assert page.value("resync_gateways_audited") == 1


def test_truth_is_asked_for_the_sequence_that_was_applied(stage: Any, observer: Any) -> None:
    stage.gateway.pods[E0] = (7, {1, 2, 3})
    next_cuts(observer)
    assert "7" in stage.engines[E0].asked


def test_four_cuts_a_second(stage: Any, observer: Any) -> None:
    """From one beginning to the next, however long a cut takes. A busy machine only adds."""
    stage.gateway.takes_s = 0.1
    first = cuts(next_cuts(observer))
    began_s: dict[float, float] = {}

    def gaps_s() -> list[float]:
        pairs = itertools.pairwise(sorted(began_s))
        return [began_s[later] - began_s[one] for one, later in pairs if later == one + 1]

    def seen(page: Any) -> bool:
        began_s[cuts(page)] = page.value("resync_cut_began_timestamp_seconds", gateway=GATEWAY)
        return cuts(page) >= first + 12 and min(gaps_s(), default=1.0) <= 0.3

    observer.wait_for("twelve cuts, two of them a quarter of a second apart", seen, timeout_s=30)
    assert min(gaps_s()) >= 0.2


def test_the_control_is_seen_and_then_stays_clear(observer: Any) -> None:
    labels = {"gateway": GATEWAY, "pod_key": "resync-control", "kind": "missing"}
    shown: list[float] = []

    def note(page: Any) -> Any:
        value = page.value("resync_divergence_blocks", **labels)
        if value is not None and shown[-1:] != [value]:
            shown.append(value)
        assert page.divergence() == {}
        return page

    ended = observer.wait_for("the control to begin and to end", lambda page: note(page) and len(shown) >= 3)
    later = observer.wait_for("ten cuts more", lambda page: cuts(note(page)) >= cuts(ended) + 10)
    assert shown == [0, 1, 0]
    assert later.divergence(control=True) == {}
    assert later.value("resync_divergent_cuts_total", gateway=GATEWAY) == 0
    assert failures(later, "control_not_scraped") == 0


def test_each_kind_with_pod_and_count(stage: Any, observer: Any) -> None:
    next_cuts(observer)
    stage.gateway.pods[E0] = (10, {1, 2, 90, 91})  # 3 lacking, 90 and 91 held by nobody
    stage.gateway.pods[E1] = (10, {1, 2, 4, 3})  # 3 is held, by engine-0
    page = observer.wait_for("divergence", lambda page: page.divergence())
    assert page.divergence() == {(E0, "phantom"): 2, (E1, "misattributed"): 1}
    assert next_cuts(observer).value("resync_divergent_cuts_total", gateway=GATEWAY) >= 1


def test_lateness_is_staleness_and_no_divergence(stage: Any, observer: Any) -> None:
    stage.engines[E0].pending_s = time.time() - 3.0
    stage.engines[E0].changed = 4
    labels = {"gateway": GATEWAY, "pod_key": E0}
    page = observer.wait_for("staleness", lambda page: page.value("resync_staleness_blocks", **labels) == 4)
    assert 3.0 <= page.value("resync_staleness_seconds", **labels) <= 8.0
    assert page.divergence() == {}


@pytest.mark.parametrize(
    ("status", "reason"),
    [(500, "truth_unreadable"), (410, "truth_too_old")],
)
def test_an_engine_that_refuses_stops_the_cuts(stage: Any, observer: Any, status: int, reason: str) -> None:
    next_cuts(observer)
    stage.engines[E1].status = status
    page = observer.wait_for(reason, lambda page: failures(page, reason) >= 2)
    stopped_at, failed = cuts(page), failures(page, reason)
    later = observer.wait_for("more failures", lambda page: failures(page, reason) >= failed + 6)
    assert cuts(later) <= stopped_at + 1
    assert later.value("resync_gateways_audited") == 0


def test_a_dead_engine_stops_the_cuts(stage: Any, observer: Any) -> None:
    next_cuts(observer)
    stage.kill_engine(E1)
    observer.wait_for("failures", lambda page: failures(page, "truth_unreachable") >= 2)
    at = cuts(observer.page())
    observer.wait_for("more failures", lambda page: failures(page, "truth_unreachable") >= 8)
    assert cuts(observer.page()) == at
    assert observer.page().value("resync_gateways_audited") == 0


def test_a_gateway_without_index_view_is_selected_and_not_audited(stage: Any, observer: Any) -> None:
    stage.gateway.status = 404
    observer.wait_for("refusal", lambda page: failures(page, "gateway_no_index_view") >= 2)
    page = observer.wait_for("blindness", lambda page: page.value("resync_gateways_audited") == 0)
    assert page.value("resync_gateways_selected") == 1


def test_a_new_incarnation_behind_the_applied_sequence_makes_everything_phantom(
    stage: Any, observer: Any
) -> None:
    next_cuts(observer)
    engine = stage.engines[E0]
    engine.incarnation, engine.published, engine.held = "b", 2, {1}
    page = observer.wait_for("phantoms", lambda page: page.divergence())
    assert page.divergence() == {(E0, "phantom"): 3}
    assert failures(page, "truth_ahead") == 0


def test_a_new_incarnation_that_passed_the_applied_sequence_is_not_compared_with_it(
    stage: Any, observer: Any
) -> None:
    next_cuts(observer)
    engine = stage.engines[E0]
    engine.incarnation, engine.published, engine.held = "b", 50, {1, 2}
    page = observer.wait_for("phantoms", lambda page: page.divergence())
    assert page.divergence() == {(E0, "phantom"): 3}


def test_a_gateway_that_followed_the_new_incarnation_is_clean(stage: Any, observer: Any) -> None:
    next_cuts(observer)
    engine = stage.engines[E0]
    engine.incarnation, engine.published, engine.held = "b", 2, {1}
    observer.wait_for("phantoms", lambda page: page.divergence())
    stage.gateway.pods[E0] = (2, {1})
    observer.wait_for("agreement", lambda page: page.divergence() == {})


def test_nothing_applied_and_nothing_indexed_agrees_with_the_empty_truth(stage: Any, observer: Any) -> None:
    stage.gateway.pods[E0] = (-1, set())
    next_cuts(observer, 3)
    assert "-1" in stage.engines[E0].asked
    assert observer.page().divergence() == {}


def test_an_engine_nobody_subscribes_to_is_missing_after_its_allowance(stage: Any, observer: Any) -> None:
    next_cuts(observer)
    left_s = time.time()
    del stage.gateway.pods[E1]
    page = observer.wait_for("missing", lambda page: page.divergence())
    assert page.divergence() == {(E1, "missing"): 3}
    assert failures(page, "awaiting_subscription") >= 1
    assert page.value("resync_last_cut_timestamp_seconds", gateway=GATEWAY) - left_s >= ABSENCE_S
    assert page.value("resync_applied_sequence", gateway=GATEWAY, pod_key=E1) is None


def test_entries_of_a_pod_that_is_gone_are_phantom_after_its_allowance(stage: Any, observer: Any) -> None:
    next_cuts(observer)
    stage.gateway.pods["default/engine-9"] = (4, {7, 8})
    observer.wait_for("the allowance", lambda page: failures(page, "awaiting_removal") >= 1)
    page = observer.wait_for("phantoms", lambda page: page.divergence())
    assert page.divergence() == {("default/engine-9", "phantom"): 2}
    del stage.gateway.pods["default/engine-9"]
    observer.wait_for("no series of it", lambda page: "engine-9" not in page.text)


def test_shared_hashes_and_sizes_come_from_the_engines_alone(stage: Any, observer: Any) -> None:
    stage.gateway.status = 500
    page = observer.wait_for("the survey", lambda page: page.value("resync_shared_hashes") == 2)
    assert page.value("resync_truth_blocks", pod_key=E0) == 3


def test_the_untouched_peer_is_measured(observer: Any) -> None:
    def quick(page: Any) -> bool:
        trip_s = page.value("resync_peer_rtt_seconds", pod_key=E1)
        assert trip_s is None or trip_s > 0
        return trip_s is not None and bool(trip_s < 0.2)

    observer.wait_for("a quick round trip", quick)


def stopping_s(observer: Any) -> float:
    """How long an observer takes to end, and ends well, once it compares."""
    next_cuts(observer)
    began_s = time.monotonic()
    assert observer.stop() == 0
    took_s = time.monotonic() - began_s
    assert "Traceback" not in observer.log_path.read_text()
    return took_s


def test_stopping_is_quick_and_clean(observe: Any) -> None:
    """A busy machine only adds: the quickest of three tells."""
    assert any(stopping_s(observe()) <= STOP_S_MAX for _ in range(3))


def test_a_wrong_argument_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "resync.observer", "--static-engines", "nonsense"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


ROUND_TRIP_EVERY_S = 0.25
FAR_S = 0.05
"""From the period, or from another engine's request: well above what a machine that is not busy adds."""
TIMES = 3
"""So that one stall of a busy machine is not taken for chance."""


def test_the_observer_asks_each_engine_at_uneven_moments_of_its_own(stage: Any, observer: Any) -> None:
    def gaps_s(pod_key: str) -> list[float]:
        asked_s: list[float] = list(stage.health_asked_s[pod_key])
        return [later - one for one, later in itertools.pairwise(asked_s)]

    def uneven(pod_key: str) -> bool:
        short = sum(gap_s < ROUND_TRIP_EVERY_S - FAR_S for gap_s in gaps_s(pod_key))
        long = sum(gap_s > ROUND_TRIP_EVERY_S + FAR_S for gap_s in gaps_s(pod_key))
        return min(short, long) >= TIMES

    def differ() -> bool:
        one_engine, other_engine = map(gaps_s, (E0, E1))
        pairs = zip(one_engine, other_engine, strict=False)
        return sum(abs(one - other) > FAR_S for one, other in pairs) >= TIMES

    observer.wait_for(
        "uneven gaps of two engines",
        lambda _: all(map(uneven, (E0, E1))) and differ(),
        timeout_s=30,
    )


def test_a_round_trip_for_which_a_connection_was_made_is_not_shown(stage: Any, observe: Any) -> None:
    stage.hanging_up.add(E1)
    page = observe().wait_for(
        "a round trip of one engine, and requests to the other",
        lambda page: (
            page.value("resync_peer_rtt_seconds", pod_key=E0) and len(stage.health_asked_s[E1]) > TIMES
        ),
    )
    assert page.value("resync_peer_rtt_seconds", pod_key=E1) is None
