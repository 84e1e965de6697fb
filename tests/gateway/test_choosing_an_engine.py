"""The longest prefix wins among ready engines, and every decision is counted under AIBrix's names."""

import pytest
from prometheus_client import CollectorRegistry

from resync.gateway.errors import NoEngineError
from resync.gateway.metrics import RouterFamilies
from resync.gateway.routing import Routing, quarter
from resync.kits.clocks import ManualClock
from resync.kvsync.index import PrefixIndex
from resync.kvsync.records import BlockStored
from resync.kvsync.router import Prompt, Router, Selection

pytestmark = pytest.mark.unit

A, B = "default/engine-a", "default/engine-b"
TOKENS = tuple(range(16))
PROMPT = Prompt("m", TOKENS)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def routing(registry: CollectorRegistry) -> Routing:
    index = PrefixIndex(block_size=4)
    index.introduce(B, "m")
    index.store(
        B, BlockStored(block_hashes=(1, 2, 3, 4), parent_block_hash=None, token_ids=TOKENS, block_size=4)
    )
    return Routing(Router(index), kv_sync=True, families=RouterFamilies(registry), clock=ManualClock())


def selected(registry: CollectorRegistry, selection: str) -> float | None:
    labels = {"model": "m", "selection": selection, "using_kv_sync": "true"}
    return registry.get_sample_value("aibrix_prefix_cache_routing_selection_total", labels)


def test_the_engine_with_the_prefix_is_chosen_although_busier(
    routing: Routing, registry: CollectorRegistry
) -> None:
    decision = routing.choose(PROMPT, {A: 0, B: 3})
    assert (decision.pod_key, decision.selection) == (B, Selection.PREFIX_MATCH)
    assert selected(registry, "prefix_match") == 1
    bucket = {"model": "m", "match_percent_bucket": "76-100", "using_kv_sync": "true"}
    assert registry.get_sample_value("aibrix_prefix_cache_routing_decisions_total", bucket) == 1


def test_an_engine_that_is_not_ready_is_not_chosen(routing: Routing, registry: CollectorRegistry) -> None:
    decision = routing.choose(PROMPT, {A: 5})
    assert (decision.pod_key, decision.selection) == (A, Selection.LEAST_REQUEST_FALLBACK)
    assert selected(registry, "least_request_fallback") == 1


def test_an_overloaded_match_is_passed_over_and_counted(
    routing: Routing, registry: CollectorRegistry
) -> None:
    assert routing.choose(PROMPT, {A: 0, B: 50}).pod_key == A
    assert selected(registry, "prefix_match_skipped") == 1
    labels = {"model": "m", "using_kv_sync": "true"}
    assert registry.get_sample_value("aibrix_prefix_cache_load_imbalance_total", labels) == 1


@pytest.mark.scenario("errors/no-target-pod")
def test_no_engine_is_an_error_that_says_nothing_was_sent(
    routing: Routing, registry: CollectorRegistry
) -> None:
    with pytest.raises(NoEngineError, match="nothing was sent"):
        routing.choose(PROMPT, {})
    labels = {"model": "m", "reason": "no_target_pod", "using_kv_sync": "true"}
    assert registry.get_sample_value("aibrix_prefix_cache_routing_errors_total", labels) == 1


@pytest.mark.scenario("errors/tokenize-failed")
def test_a_prompt_that_came_as_text_goes_to_the_least_loaded_and_is_counted(
    routing: Routing, registry: CollectorRegistry
) -> None:
    assert routing.choose(Prompt("m", None), {A: 0, B: 1}).pod_key == A
    labels = {"model": "m", "reason": "tokenize_failed", "using_kv_sync": "true"}
    assert registry.get_sample_value("aibrix_prefix_cache_routing_errors_total", labels) == 1
    assert selected(registry, "least_request_fallback") == 1


@pytest.mark.parametrize(
    ("matched", "of", "bucket"),
    [
        (0, 8, "0"),
        (1, 8, "1-25"),
        (2, 8, "1-25"),
        (3, 8, "26-50"),
        (6, 8, "51-75"),
        (8, 8, "76-100"),
        (0, 0, "0"),
    ],
)
def test_buckets(matched: int, of: int, bucket: str) -> None:
    assert quarter(matched, of) == bucket
