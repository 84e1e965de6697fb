"""The gateway as a process: what clients get, what its metrics say, and what happens when engines die."""

import itertools
import subprocess
import sys
import time
import urllib.error
from typing import Any

import msgspec
import pytest

from resync.kits.waits import wait_until

pytestmark = pytest.mark.integration

E0, E1 = "default/engine-0", "default/engine-1"
STOP_S_MAX = 2.0


@pytest.fixture
def gateway(fleet: Any) -> Any:
    """A gateway whose engines are all followed and reachable."""
    gateway = fleet.gateway()
    return gateway.wait_until_whole(engines=3)


def test_a_prompt_warmed_behind_the_gateways_back_is_routed_to_its_holder(
    fleet: Any, gateway: Any, complete: Any, prompt_of: Any
) -> None:
    for position, engine in enumerate(fleet.engines):
        prompt = prompt_of(6, seed=position + 1)
        complete(engine, prompt)
        gateway.wait_for(
            "the event",
            lambda page, key=engine.pod_key: page.value("resync_gateway_applied_sequence", pod_key=key) >= 0,
        )
        status, headers, answer = complete(gateway, prompt)
        assert status == 200
        assert headers["target-pod"] == engine.name
        assert headers["target-pod-ip"] == engine.ip
        assert headers["x-routing-selection"] == "prefix_match"
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 96


def test_an_unknown_prompt_falls_back_to_load(gateway: Any, complete: Any, prompt_of: Any) -> None:
    status, headers, _answer = complete(gateway, prompt_of(6, seed=77))
    assert (status, headers["x-routing-selection"]) == (200, "least_request_fallback")


def test_models_and_refusals(gateway: Any) -> None:
    models = msgspec.json.decode(gateway.get("/v1/models"))
    assert [model["id"] for model in models["data"]] == ["llama2-7b"]
    for body, status in ((b'{"model": "other", "prompt": [1]}', 404), (b"nonsense", 400)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            gateway.post("/v1/completions", body)
        assert refused.value.code == status
        refused.value.close()


def test_the_index_view_is_what_the_engine_holds(
    fleet: Any, gateway: Any, complete: Any, prompt_of: Any
) -> None:
    complete(fleet.engines[0], prompt_of(5, seed=3))

    def caught_up() -> Any:
        pod = msgspec.json.decode(gateway.get("/index"))["pods"][E0]
        truth = msgspec.json.decode(fleet.engines[0].get("/truth"))
        return (pod, truth) if len(pod["entries"]) >= 5 and pod["applied_seq"] == truth["seq"] else None

    found = wait_until(caught_up, what="the index to catch up", timeout_s=5)
    assert found is not None
    pod, truth = found
    assert sorted(row[:4] for row in pod["entries"]) == sorted(truth["blocks"])
    assert {row[4] for row in pod["entries"]} == {"event"}
    assert (pod["state"], pod["exact"]) == ("live", True)


def test_without_index_view_there_is_none(fleet: Any) -> None:
    gateway = fleet.gateway("--no-index-view")
    with pytest.raises(urllib.error.HTTPError) as refused:
        gateway.get("/index")
    assert refused.value.code == 404
    refused.value.close()


def test_without_a_ready_engine_the_answer_is_503(fleet: Any, gateway: Any, complete: Any) -> None:
    for engine in fleet.engines:
        engine.kill()

    def refused() -> Any:
        status, _headers, answer = complete(gateway, [1, 2, 3])
        return answer if status == 503 else None

    answer = wait_until(refused, what="a refusal", timeout_s=10)
    assert answer is not None
    assert "is ready" in answer["error"]["message"]


def test_a_killed_engine_gets_no_requests_and_costs_no_other_engine_any(
    fleet: Any, gateway: Any, complete: Any
) -> None:
    fleet.engines[0].kill()
    answers = [complete(gateway, [7000 + n]) for n in range(12)]
    assert [status for status, _headers, _answer in answers] == [200] * 12
    assert "engine-0" not in {headers["target-pod"] for _status, headers, _answer in answers}
    page = gateway.wait_for(
        "the lost connection",
        lambda page: page.value("aibrix_kvcache_zmq_connection_status", pod_key=E0) == 0,
    )
    assert page.value("aibrix_kvcache_zmq_disconnections_total", pod_key=E0) == 1
    assert page.value("resync_gateway_source_exact", pod_key=E0) == 0


def test_after_a_restart_the_index_is_that_of_the_new_life(
    fleet: Any, gateway: Any, complete: Any, prompt_of: Any
) -> None:
    observer = fleet.observer(gateway)
    engine = fleet.engines[0]
    complete(engine, prompt_of(6, seed=1))
    complete(engine, prompt_of(3, seed=2))
    observer.wait_for(
        "cuts", lambda page: page.value("resync_index_blocks", gateway=gateway.pod_key, pod_key=E0) >= 9
    )
    engine.kill()
    observer.wait_for(
        "failed cuts",
        lambda page: page.value("resync_observer_failures_total", reason="truth_unreachable") > 1,
    )
    engine.start()
    complete(engine, prompt_of(4, seed=5))
    page = observer.wait_for(
        "agreement on the new life",
        lambda page: (
            page.value("resync_index_blocks", gateway=gateway.pod_key, pod_key=E0) == 4
            and not page.divergence()
        ),
        timeout_s=30,
    )
    assert page.value("resync_truth_blocks", pod_key=E0) == 4


def test_a_restart_is_known_before_the_new_life_says_a_word(
    fleet: Any, gateway: Any, complete: Any, prompt_of: Any
) -> None:
    """An empty answer to the replay that is asked for at every connect: AIBrix would go on matching."""
    engine = fleet.engines[0]
    complete(engine, prompt_of(4, seed=1))
    gateway.wait_for("its blocks", lambda page: page.value("resync_gateway_index_blocks") == 4)
    engine.kill()
    engine.start()
    page = gateway.wait_for("no old blocks", lambda page: page.value("resync_gateway_index_blocks") == 0)
    assert page.value("resync_gateway_applied_sequence", pod_key=E0) == -1
    assert msgspec.json.decode(engine.get("/truth"))["published_seq"] == -1


HEALTH_EVERY_S = 0.15
FAR_S = 0.03
TIMES = 5
"""So that a few stalls of a busy machine are not taken for chance."""


def test_each_engine_is_asked_for_its_health_at_uneven_moments_of_its_own(fleet: Any) -> None:
    """In step with scrapes or cuts a check would take their work for the path's.

    A moment may be missed between two looks, so a gap of two periods does not count as a long one.
    """
    gateway = fleet.gateway()
    moments_s: dict[str, set[float]] = {E0: set(), E1: set()}

    def gaps_s(pod_key: str) -> list[float]:
        told = sorted(moments_s[pod_key])
        return [later - one for one, later in itertools.pairwise(told)]

    def uneven(pod_key: str) -> bool:
        short = sum(gap_s < HEALTH_EVERY_S - FAR_S for gap_s in gaps_s(pod_key))
        long = sum(FAR_S < gap_s - HEALTH_EVERY_S < HEALTH_EVERY_S / 2 + FAR_S for gap_s in gaps_s(pod_key))
        return min(short, long) >= TIMES

    def apart() -> bool:
        alone = [s for s in moments_s[E0] if min(abs(s - o) for o in moments_s[E1]) > FAR_S]
        return len(alone) >= TIMES

    def look() -> bool:
        told = gateway.page().by_pod("resync_gateway_engine_rtt_timestamp_seconds")
        for pod_key in moments_s.keys() & told.keys():
            moments_s[pod_key].add(told[pod_key])
        return all(map(uneven, moments_s)) and apart()

    wait_until(look, what="uneven moments, of each engine its own", timeout_s=30, every_s=0.02)


def stopping_s(fleet: Any) -> float:
    """How long a gateway takes to end, and ends well, under traffic."""
    gateway = fleet.gateway()
    traffic = fleet.traffic(gateway, rate=20)
    gateway.wait_for("requests", lambda page: page.total("aibrix_prefix_cache_routing_decisions_total") > 10)
    began_s = time.monotonic()
    assert gateway.stop() == 0
    took_s = time.monotonic() - began_s
    traffic.stop()
    assert "Traceback" not in gateway.log()
    return took_s


def test_stopping_is_quick_and_clean(fleet: Any) -> None:
    """A busy machine only adds: the quickest of three tells."""
    assert any(stopping_s(fleet) <= STOP_S_MAX for _ in range(3))


@pytest.mark.parametrize(
    "arguments", [("--flaw", "nonsense"), ("--static-engines", "nonsense"), ("--bogus",)]
)
def test_a_wrong_argument_is_one_sentence(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "resync.gateway", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert arguments[-1] in done.stderr
    assert "Traceback" not in done.stderr
