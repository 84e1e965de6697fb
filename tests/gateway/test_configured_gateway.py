"""What the environment asks for is what the process does: which index it asks, whom it subscribes to."""

import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest

pytestmark = pytest.mark.integration

KV_SYNC = "AIBRIX_PREFIX_CACHE_KV_EVENT_SYNC_ENABLED"
TOKENIZER = "AIBRIX_USE_REMOTE_TOKENIZER"


@pytest.fixture
def local(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A gateway without KV-event sync."""
    monkeypatch.setenv(KV_SYNC, "false")
    gateway = fleet.gateway()
    fleet.wait_for_answer(gateway, [1, 2, 3], pod="engine-0")
    return gateway


def test_without_kv_sync_only_what_was_routed_is_known(
    fleet: Any, local: Any, complete: Any, prompt_of: Any
) -> None:
    warm, own = prompt_of(6, seed=1), prompt_of(6, seed=2)
    complete(fleet.engines[1], warm)
    assert complete(local, warm)[1]["x-routing-selection"] == "least_request_fallback"
    _, first, _ = complete(local, own)
    _, again, answer = complete(local, own)
    assert (again["x-routing-selection"], again["target-pod"]) == ("prefix_match", first["target-pod"])
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 96


def test_without_kv_sync_nobody_is_subscribed_to_and_the_metrics_say_so(local: Any) -> None:
    page = local.page()
    assert "pod_key=" not in "".join(
        line for line in page.text.splitlines() if line.startswith("aibrix_kvcache_zmq_")
    )
    status = "aibrix_prefix_cache_indexer_status"
    assert page.value(status, model="_init_", indexer_type="local") == 1
    assert page.value(status, model="_init_", indexer_type="sync") == 0
    decisions = [
        dict(labels) for name, labels in page.samples if name == "aibrix_prefix_cache_routing_decisions_total"
    ]
    assert {labels["using_kv_sync"] for labels in decisions} == {"false"}
    pods = msgspec.json.decode(local.get("/index"))["pods"]
    assert {pod["state"] for pod in pods.values()} == {"routed"}
    assert not any(pod["exact"] for pod in pods.values())


@pytest.mark.scenario("errors/kv-sync-without-remote-tokenizer")
def test_sync_without_the_tokenizer_stays_off_and_is_warned_of(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKENIZER, "false")
    gateway = fleet.gateway()
    assert "KV-event sync needs the remote tokenizer and stays off" in gateway.log()
    assert gateway.page().total("aibrix_prefix_cache_indexer_status") == 1
    assert "aibrix_kvcache_zmq_connection_status{" not in gateway.page().text


def test_a_variable_that_cannot_be_read_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "resync.gateway"],
        env={**os.environ, KV_SYNC: "perhaps"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert f"{KV_SYNC} wants true or false, not 'perhaps'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.scenario("errors/full-index")
def test_a_limit_that_is_reached_is_on_the_page_and_the_source_is_not_exact(
    fleet: Any, complete: Any, prompt_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIBRIX_SYNC_MAX_PREFIXES_PER_CONTEXT", "4")
    gateway = fleet.gateway().wait_until_whole(engines=3)
    complete(fleet.engines[0], prompt_of(6, seed=1))
    page = gateway.wait_for(
        "the refusal", lambda page: page.value("resync_gateway_index_refused_blocks_total") == 2
    )
    assert page.value("resync_gateway_index_blocks") == 4
    assert page.value("resync_gateway_source_exact", pod_key="default/engine-0") == 0
    assert page.total("resync_gateway_source_exact") == 2
