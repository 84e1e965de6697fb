"""The router asks whichever index it was given, tells it what it decided, and says what it could not do."""

import pytest

from resync.kvsync.errors import NoPodError
from resync.kvsync.index import PrefixIndex
from resync.kvsync.localindex import LocalIndex
from resync.kvsync.records import BlockStored
from resync.kvsync.router import Decision, Indexer, Prompt, Router, RouterSettings, RoutingFailure, Selection

pytestmark = pytest.mark.unit

SIZE = 4
TOKENS = tuple(range(100, 116))  # four blocks
PROMPT = Prompt("m", TOKENS)
IDLE = {"a": 0, "b": 0}


def synced() -> Indexer:
    """An index to which pod b's engine has said that it holds the prompt."""
    index = PrefixIndex(block_size=SIZE)
    index.introduce("b", "m")
    index.store("b", BlockStored((1, 2, 3, 4), None, TOKENS, SIZE))
    return index


def local() -> Indexer:
    """An index by which the prompt has gone to pod b before."""
    index = LocalIndex(block_size=SIZE)
    index.routed("b", TOKENS, model="m", now_s=0.0)
    return index


INDEXERS = {"synced": synced, "local": local}


@pytest.fixture(params=INDEXERS)
def indexer(request: pytest.FixtureRequest) -> Indexer:
    return INDEXERS[request.param]()


def test_the_pod_that_holds_the_prefix_is_chosen_whichever_index_knows_it(indexer: Indexer) -> None:
    router = Router(indexer)
    decision = router.route(PROMPT, {"a": 0, "b": 3}, now_s=1.0)
    assert decision == Decision("b", Selection.PREFIX_MATCH, 4, 4)
    assert decision.match_percent == 100


def test_a_longer_prompt_matches_by_its_share(indexer: Indexer) -> None:
    longer = Prompt("m", (*TOKENS, *range(20)))
    assert Router(indexer).route(longer, {"a": 9, "b": 0}, now_s=1.0).match_percent == 44


@pytest.mark.parametrize(
    "other", [Prompt("other", TOKENS), Prompt("m", TOKENS, "adapter"), Prompt("m", (0, *TOKENS))]
)
def test_another_model_adapter_or_start_is_another_prefix(indexer: Indexer, other: Prompt) -> None:
    decision = Router(indexer).route(other, {"a": 0, "b": 1}, now_s=1.0)
    assert (decision.pod_key, decision.selection) == ("a", Selection.LEAST_REQUEST_FALLBACK)


def test_a_pod_that_is_purged_is_not_matched(indexer: Indexer) -> None:
    indexer.purge("b")
    assert Router(indexer).route(PROMPT, {"a": 0, "b": 1}, now_s=1.0).pod_key == "a"


def test_a_prompt_without_tokens_is_routed_by_load_and_says_why(indexer: Indexer) -> None:
    decision = Router(indexer).route(Prompt("m", None), {"a": 0, "b": 3}, now_s=1.0)
    assert decision == Decision(
        "a", Selection.LEAST_REQUEST_FALLBACK, 0, failure=RoutingFailure.TOKENIZE_FAILED
    )
    assert decision.match_percent == 0


def test_no_pod_is_an_error_and_nothing_is_learnt(indexer: Indexer) -> None:
    with pytest.raises(NoPodError):
        Router(indexer).route(Prompt("m", (7,) * 8), {}, now_s=1.0)
    assert indexer.match((7,) * 8, model="m") == {}


def test_only_the_local_index_believes_in_decisions() -> None:
    """A guess in the synced index would make a dead event stream look alive (AIBrix' second-request test)."""
    new = Prompt("m", (7,) * 8)
    for make, expected in ((synced, {}), (local, {"a": 2})):
        index = make()
        Router(index).route(new, {"a": 0}, now_s=1.0)
        assert index.match((7,) * 8, model="m") == expected


def test_equals_take_turns() -> None:
    router = Router(PrefixIndex(block_size=SIZE))
    assert [router.route(PROMPT, IDLE, now_s=1.0).pod_key for _ in range(4)] == ["a", "b", "a", "b"]


def test_the_settings_are_the_router_s() -> None:
    strict = Router(synced(), RouterSettings(imbalance_limit=0))
    decision = strict.route(PROMPT, {"a": 0, "b": 1}, now_s=1.0)
    assert decision == Decision("a", Selection.PREFIX_MATCH_SKIPPED, 0, 4, imbalanced=True)
