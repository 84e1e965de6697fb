"""The index: copies are counted, only the sender loses, prefixes are chained, orphans cannot match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.kvsync import chain, handlers, truth
from resync.kvsync.index import IndexEntry, PrefixIndex
from resync.kvsync.records import AllBlocksCleared, Batch, BlockRemoved, BlockStored, KVEvent

pytestmark = pytest.mark.unit

SIZE = 4
TOKENS = tuple(range(100, 112))  # three blocks
KEYS = chain.prefix_keys(TOKENS, SIZE)
H1, H2, H3 = 11, 22, 33
ALL = BlockStored((H1, H2, H3), None, TOKENS, SIZE)


@pytest.fixture
def index() -> PrefixIndex:
    return PrefixIndex(block_size=SIZE)


def block(position: int, parent: int | None, block_hash: int, group: int = 0) -> BlockStored:
    return BlockStored((block_hash,), parent, TOKENS[position * 4 : position * 4 + 4], SIZE, group_idx=group)


def held(index: PrefixIndex, pod: str) -> dict[int, tuple[int, int | None]]:
    return {entry.hash: (entry.copies, entry.prefix_key) for entry in index.entries(pod)}


def test_the_blocks_of_one_event_hang_on_each_other(index: PrefixIndex) -> None:
    index.store("a", ALL)

    assert index.match(TOKENS) == {"a": 3}
    assert index.match(TOKENS[8:]) == {}
    assert held(index, "a") == {H1: (1, KEYS[0]), H2: (1, KEYS[1]), H3: (1, KEYS[2])}


@pytest.mark.scenario("event-flow/prefix-match")
def test_a_match_is_contiguous_from_the_start_and_per_pod(index: PrefixIndex) -> None:
    index.store("a", ALL)
    index.store("b", ALL)
    index.remove("b", BlockRemoved((H2,)))
    index.store("c", block(0, None, H1))

    assert index.match(TOKENS) == {"a": 3, "b": 1, "c": 1}
    assert index.match((*TOKENS[:7], 0)) == {"a": 1, "b": 1, "c": 1}
    assert index.match(TOKENS[:3]) == {}


def test_a_removal_takes_one_copy_of_the_sender_only(index: PrefixIndex) -> None:
    for pod in ("a", "a", "b"):
        index.store(pod, ALL)

    index.remove("a", BlockRemoved((H3,)))
    assert held(index, "a")[H3] == (1, KEYS[2])
    index.remove("a", BlockRemoved((H3,)))
    assert index.match(TOKENS) == {"a": 2, "b": 3}
    index.remove("a", BlockRemoved((H3, 999)))
    assert index.match(TOKENS) == {"a": 2, "b": 3}


def test_a_group_is_counted_by_itself(index: PrefixIndex) -> None:
    index.store("a", block(0, None, H1, group=0))
    index.store("a", block(0, None, H1, group=1))
    index.remove("a", BlockRemoved((H1,), group_idx=0))

    assert index.entries("a") == (IndexEntry(1, H1, 1, KEYS[0]),)
    assert index.match(TOKENS) == {"a": 1}
    assert index.sizes() == {"a": 1}


def test_a_block_behind_an_unknown_parent_is_held_but_cannot_match(index: PrefixIndex) -> None:
    index.store("a", block(1, H1, H2))

    assert held(index, "a") == {H2: (1, None)}
    assert index.match(TOKENS) == {}
    assert index.match(TOKENS[4:]) == {}


def test_orphans_are_adopted_down_the_whole_chain_when_the_parent_comes(index: PrefixIndex) -> None:
    index.store("a", block(2, H2, H3))
    index.store("a", block(1, H1, H2))
    index.store("b", block(0, None, H1))
    assert index.match(TOKENS) == {"b": 1}

    index.store("a", block(0, None, H1))

    assert index.match(TOKENS) == {"a": 3, "b": 1}


def test_an_orphan_that_is_gone_is_not_adopted(index: PrefixIndex) -> None:
    index.store("a", block(1, H1, H2))
    index.remove("a", BlockRemoved((H2,)))
    index.store("a", block(0, None, H1))

    assert index.match(TOKENS) == {"a": 1}


def test_the_parent_may_be_known_from_another_group(index: PrefixIndex) -> None:
    index.store("a", block(0, None, H1, group=1))
    index.store("a", block(1, H1, H2, group=0))

    assert index.match(TOKENS) == {"a": 2}


def test_another_prefix_for_a_known_hash_corrects_it(index: PrefixIndex) -> None:
    index.store("a", BlockStored((H1,), None, (1, 2, 3, 4), SIZE))
    index.store("a", block(0, None, H1))

    assert held(index, "a") == {H1: (2, KEYS[0])}
    assert index.match((1, 2, 3, 4)) == {}
    assert index.match(TOKENS) == {"a": 1}


def test_a_known_prefix_outlives_a_store_that_does_not_know_it(index: PrefixIndex) -> None:
    index.store("a", ALL)
    index.store("a", BlockStored((H2,), 999, TOKENS[4:8], SIZE))

    assert held(index, "a")[H2] == (2, KEYS[1])


def test_a_masked_range_is_held_without_a_prefix(index: PrefixIndex) -> None:
    index.store("a", BlockStored((H2,), None, TOKENS[:8], SIZE, group_idx=1))
    index.store("a", BlockStored((), None, TOKENS[:8], SIZE, group_idx=1))

    assert held(index, "a") == {H2: (1, None)}
    assert index.match(TOKENS) == {}


def test_an_adapter_has_prefixes_of_its_own(index: PrefixIndex) -> None:
    index.store("a", BlockStored((H1,), None, TOKENS[:4], SIZE, lora_name="x"))

    assert index.match(TOKENS) == {}
    assert index.match(TOKENS, lora_name="x") == {"a": 1}


def test_two_hashes_of_one_prefix_keep_it_matching_until_both_are_gone(index: PrefixIndex) -> None:
    index.store("a", block(0, None, H1))
    index.store("a", block(0, None, H2))  # salted: same tokens, other hash
    index.remove("a", BlockRemoved((H1,)))
    assert index.match(TOKENS) == {"a": 1}
    index.remove("a", BlockRemoved((H2,)))
    assert index.match(TOKENS) == {}


def test_clear_keeps_the_pod_purge_forgets_it(index: PrefixIndex) -> None:
    index.store("a", ALL)
    index.store("b", ALL)

    index.clear("a")
    assert (index.pods(), index.entries("a"), index.match(TOKENS)) == (("b", "a"), (), {"b": 3})
    index.purge("a")
    index.purge("never heard of")
    assert index.pods() == ("b",)


def test_another_medium_is_counted_and_left_alone(index: PrefixIndex) -> None:
    events: tuple[KVEvent, ...] = (
        ALL,
        BlockStored((H1,), None, TOKENS[:4], SIZE, medium="CPU"),
        BlockRemoved((H1,), medium="CPU"),
        BlockRemoved((H3,), medium=None),
    )
    counts = handlers.apply_batch(index, "a", Batch(1.0, events, unknown_events=("X",)))

    assert index.match(TOKENS) == {"a": 2}
    assert counts == handlers.AppliedCounts(1, 1, 0, 3, 1, 2, 1)
    assert counts.by_type() == {"BlockStored": 1, "BlockRemoved": 1, "AllBlocksCleared": 0}


def test_a_clear_in_a_batch_reaches_the_index(index: PrefixIndex) -> None:
    counts = handlers.apply_batch(index, "a", Batch(1.0, (ALL, AllBlocksCleared())))

    assert index.entries("a") == ()
    assert counts.cleared_events == 1


# Any stream of a few blocks, also a lying one (parents unknown, removals of what is not there).
BLOCKS = st.sampled_from([(0, None, H1), (1, H1, H2), (2, H2, H3), (2, 77, H3)])
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        BLOCKS.map(lambda one: block(*one))
        | st.sampled_from([H1, H2, H3]).map(lambda one: BlockRemoved((one,))),
    ),
    max_size=40,
)


@given(EVENTS)
def test_copies_are_those_of_the_independent_fold_whatever_the_stream(
    stream: list[tuple[str, KVEvent]],
) -> None:
    index = PrefixIndex(block_size=SIZE)
    for pod, event in stream:
        handlers.apply_batch(index, pod, Batch(0.0, (event,)))

    for pod in "ab":
        folded = truth.fold([Batch(0.0, (event,)) for sender, event in stream if sender == pod])
        assert {(e.group, e.hash): e.copies for e in index.entries(pod)} == {
            k: v.copies for k, v in folded.items()
        }
        for entry in index.entries(pod):
            assert entry.prefix_key in {None, *KEYS}


@given(EVENTS)
def test_taking_everything_away_leaves_nothing_behind(stream: list[tuple[str, KVEvent]]) -> None:
    index = PrefixIndex(block_size=SIZE)
    for pod, event in stream:
        handlers.apply_batch(index, pod, Batch(0.0, (event,)))
    for pod in index.pods():
        for entry in index.entries(pod):
            index.remove(pod, BlockRemoved((entry.hash,) * entry.copies, group_idx=entry.group))

    left = index.statistics()
    assert (left.prefixes, left.blocks, left.orphans, left.refused_blocks) == (0, 0, 0, 0)
    for held in index._pods.values():
        assert not any((held.keys, held.orphans, held.children, held._twins, held._adapted))
