"""What the index leaves out, and says so; whose prefix is whose; and what a match costs."""

import pytest

from resync.kvsync import chain
from resync.kvsync.holdings import IndexLimits
from resync.kvsync.index import IndexStatistics, PrefixIndex
from resync.kvsync.localindex import LocalIndex
from resync.kvsync.matching import PodBits, longest_prefixes
from resync.kvsync.records import BlockRemoved, BlockStored

pytestmark = pytest.mark.unit

SIZE = 4
TOKENS = tuple(range(100, 112))  # three blocks
ALL = BlockStored((1, 2, 3), None, TOKENS, SIZE)


def lora(name: str, block_hash: int = 9) -> BlockStored:
    return BlockStored((block_hash,), None, TOKENS[:SIZE], SIZE, lora_name=name)


@pytest.mark.scenario("errors/full-index")
def test_a_full_pod_refuses_what_is_new_and_goes_on_counting_what_it_has() -> None:
    index = PrefixIndex(block_size=SIZE, limits=IndexLimits(blocks_per_pod_max=2))
    index.store("a", ALL)
    index.store("a", ALL)
    index.store("b", BlockStored((1,), None, TOKENS[:SIZE], SIZE))

    assert [(entry.hash, entry.copies) for entry in index.entries("a")] == [(1, 2), (2, 2)]
    assert index.match(TOKENS) == {"a": 2, "b": 1}
    assert (index.lacks("a"), index.lacks("b"), index.lacks("unknown")) == (True, False, False)
    assert index.statistics().refused_blocks == 2


def test_a_full_context_refuses_and_the_other_adapter_does_not() -> None:
    index = PrefixIndex(block_size=SIZE, limits=IndexLimits(blocks_per_context_max=2))
    index.store("a", ALL)
    index.store("b", ALL)
    index.store("b", lora("x"))

    assert index.sizes() == {"a": 2, "b": 1}
    assert index.match(TOKENS) == {"a": 2}
    assert index.match(TOKENS, "x") == {"b": 1}
    assert index.statistics().refused_blocks == 4


def test_what_was_refused_fits_once_there_is_room() -> None:
    index = PrefixIndex(block_size=SIZE, limits=IndexLimits(blocks_per_pod_max=2))
    index.store("a", ALL)
    index.remove("a", BlockRemoved((2,)))
    index.store("a", BlockStored((2, 3), 1, TOKENS[SIZE:], SIZE))

    assert index.match(TOKENS) == {"a": 2}
    assert index.lacks("a")
    index.clear("a")
    assert not index.lacks("a")


def test_orphans_count_and_so_cannot_be_adopted_beyond_a_limit() -> None:
    index = PrefixIndex(block_size=SIZE, limits=IndexLimits(blocks_per_context_max=2))
    index.store("a", BlockStored((2, 3), 1, TOKENS[SIZE:], SIZE))
    index.store("a", BlockStored((1,), None, TOKENS[:SIZE], SIZE))

    assert index.statistics().orphans == index.statistics().blocks == 2
    assert index.match(TOKENS) == {}


def test_one_adapter_too_many_is_refused_until_another_is_empty() -> None:
    index = PrefixIndex(block_size=SIZE, limits=IndexLimits(contexts_max=3))
    for name, block_hash in (("x", 1), ("y", 2), ("z", 3)):
        index.store("a", lora(name, block_hash))
    assert [bool(index.match(TOKENS, name)) for name in "xyz"] == [True, True, False]
    assert (index.statistics().contexts, index.lacks("a")) == (3, True)

    index.remove("a", BlockRemoved((1,)))
    index.store("a", lora("z", 3))
    assert [bool(index.match(TOKENS, name)) for name in "xyz"] == [False, True, True]


def test_a_hash_stays_in_the_context_in_which_it_was_first_heard_of() -> None:
    """No engine says this; whoever does gets one block and not two, and nothing is left behind."""
    for first, second in ((None, "x"), ("x", None), ("x", "y")):
        index = PrefixIndex(block_size=SIZE)
        index.store("a", BlockStored((1,), None, TOKENS[:SIZE], SIZE, lora_name=first))
        index.store("a", BlockStored((1,), None, TOKENS[:SIZE], SIZE, lora_name=second, group_idx=1))
        assert (index.match(TOKENS, first), index.match(TOKENS, second)) == ({"a": 1}, {})
        for group in (0, 1):
            index.remove("a", BlockRemoved((1,), group_idx=group))
        assert index.match(TOKENS, first) == {}
        assert {context.blocks for context in index._contexts.values()} == {0}


def test_an_idle_context_is_emptied_and_its_pods_lack_blocks() -> None:
    index = PrefixIndex(block_size=SIZE)
    index.store("a", ALL)
    index.store("b", lora("x"))
    assert index.evict_idle(100.0, 60.0) == 0
    index.match(TOKENS)
    assert index.evict_idle(150.0, 60.0) == 0
    assert index.evict_idle(160.0, 60.0) == 1
    assert (index.lacks("a"), index.lacks("b")) == (False, True)
    assert index.evict_idle(210.0, 60.0) == 3
    assert index.statistics() == IndexStatistics(
        pods=2,
        contexts=1,
        prefixes=0,
        blocks=0,
        orphans=0,
        refused_blocks=0,
        evicted_contexts=2,
        evicted_blocks=4,
        other_block_size_events=0,
    )


def test_events_keep_a_context_in_use() -> None:
    """AIBrix forgets a busy context that nobody asks about, and never gets it back."""
    index = PrefixIndex(block_size=SIZE)
    for now_s in range(0, 1000, 50):
        index.store("a", ALL)
        assert index.evict_idle(float(now_s), 60.0) == 0


def test_a_child_of_what_was_evicted_is_no_root() -> None:
    index = PrefixIndex(block_size=SIZE)
    index.store("a", BlockStored((1, 2), None, TOKENS[: 2 * SIZE], SIZE))
    index.evict_idle(0.0, 1.0)
    assert index.evict_idle(1.0, 1.0) == 2
    index.store("a", BlockStored((3,), 2, TOKENS[2 * SIZE :], SIZE))
    assert index.match(TOKENS[2 * SIZE :]) == {}


def test_a_model_has_prefixes_of_its_own() -> None:
    index = PrefixIndex(block_size=SIZE)
    index.introduce("a", "one")
    index.introduce("b", "two")
    for pod in "ab":
        index.store(pod, ALL)
    assert (index.match(TOKENS, model="one"), index.match(TOKENS)) == ({"a": 3}, {})
    index.introduce("a", "one")
    assert index.match(TOKENS, model="one") == {"a": 3}
    index.introduce("a", "two")
    assert (index.match(TOKENS, model="one"), index.match(TOKENS, model="two")) == ({}, {"b": 3})
    index.clear("b")
    index.store("b", ALL)
    assert index.match(TOKENS, model="two") == {"b": 3}


def test_an_engine_with_another_block_size_is_counted_and_cannot_match() -> None:
    index = PrefixIndex(block_size=SIZE)
    index.store("a", BlockStored((1,), None, TOKENS[:8], 8))
    assert index.match(TOKENS) == {}
    assert (index.statistics().other_block_size_events, index.statistics().blocks) == (1, 1)


def test_a_bit_is_given_to_the_next_pod_without_what_it_stood_for() -> None:
    index = PrefixIndex(block_size=SIZE)
    pods = [f"pod-{n}" for n in range(70)]
    for pod in pods:
        index.store(pod, ALL)
    assert index.match(TOKENS) == dict.fromkeys(pods, 3)
    index.purge("pod-7")
    index.store("another", BlockStored((1,), None, TOKENS[:SIZE], SIZE))
    matched = index.match(TOKENS)
    assert (matched.pop("another"), "pod-7" in matched, len(matched)) == (1, False, 69)


def test_a_group_is_remembered_only_while_it_holds_something() -> None:
    index = PrefixIndex(block_size=SIZE, limits=IndexLimits(blocks_per_pod_max=3))
    for group in range(100):
        index.store("a", BlockStored((1,), None, TOKENS[:SIZE], SIZE, group_idx=group))
        index.store("a", BlockStored((), None, TOKENS, SIZE, group_idx=group))
    assert len(index._pods["a"].groups) == 3
    for group in range(100):
        index.remove("a", BlockRemoved((1,), group_idx=group))
    assert (index._pods["a"].groups, index.match(TOKENS)) == ({}, {})


def test_a_hundred_events_of_each_of_ten_pods_in_turns_are_a_thousand_blocks() -> None:
    """The task document's concurrent case: an index is told by one task, so its events only take turns."""
    index = PrefixIndex(block_size=SIZE)
    pods = [f"pod-{n}" for n in range(10)]
    for event in range(100):
        for number, pod in enumerate(pods):
            index.store(pod, BlockStored((number * 1000 + event,), None, (event,) * SIZE, SIZE))
    assert index.sizes() == dict.fromkeys(pods, 100)
    assert (index.statistics().blocks, index.statistics().prefixes) == (1000, 100)
    assert all(index.match((event,) * SIZE) == dict.fromkeys(pods, 1) for event in range(100))


def test_orphans_of_one_event_wait_each_for_the_one_before_it() -> None:
    index = PrefixIndex(block_size=SIZE)
    index.store("a", BlockStored((2, 3), 1, TOKENS[SIZE:], SIZE))
    index.store("a", BlockStored((1,), None, TOKENS[:SIZE], SIZE))
    assert index.match(TOKENS) == {"a": 3}
    assert index.match((*TOKENS[:SIZE], *TOKENS[2 * SIZE :])) == {"a": 1}


def test_siblings_wait_for_one_parent_and_one_that_goes_does_not_take_the_other_along() -> None:
    index = PrefixIndex(block_size=SIZE)
    index.store("a", BlockStored((2,), 1, TOKENS[SIZE : 2 * SIZE], SIZE))
    index.store("a", BlockStored((3,), 1, TOKENS[2 * SIZE :], SIZE))
    index.remove("a", BlockRemoved((2,)))
    index.store("a", BlockStored((1,), None, TOKENS[:SIZE], SIZE))
    assert index.match(TOKENS) == {"a": 1}
    assert index.match((*TOKENS[:SIZE], *TOKENS[2 * SIZE :])) == {"a": 2}


def test_three_salts_of_one_prefix_match_until_the_last_is_gone() -> None:
    index = PrefixIndex(block_size=SIZE)
    for salted in (1, 2, 3):
        index.store("a", BlockStored((salted,), None, TOKENS[:SIZE], SIZE))
    for gone, matched in ((2, {"a": 1}), (1, {"a": 1}), (3, {})):
        index.remove("a", BlockRemoved((gone,)))
        assert index.match(TOKENS) == matched


class Counting(dict[int, int]):
    """A table that counts how often it is asked."""

    asked = 0

    def get(self, key: int, default: int | None = None) -> int | None:  # type: ignore[override]
        self.asked += 1
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


@pytest.mark.parametrize("blocks", [1, 2, 64, 65, 66, 130])
def test_a_match_asks_once_a_block_and_once_for_the_start_however_many_pods_there_are(blocks: int) -> None:
    prompt = tuple(range(blocks * SIZE))
    keys = chain.prefix_keys(prompt, SIZE)
    for pods in (1, 300):
        bits = PodBits()
        mask = sum(bits.take(f"pod-{n}") for n in range(pods))
        table = Counting(dict.fromkeys(keys, mask))
        found = longest_prefixes(table, bits, (*prompt, 1), SIZE, 0)
        assert found == {f"pod-{n}": blocks for n in range(pods)}
        assert table.asked == blocks + 1


def test_a_prompt_that_nobody_knows_costs_one_key() -> None:
    table = Counting()
    assert longest_prefixes(table, PodBits(), TOKENS * 50, SIZE, 0) == {}
    assert table.asked == 1


def test_a_local_entry_says_that_it_is_a_guess() -> None:
    index = LocalIndex(block_size=SIZE)
    index.routed("a", TOKENS[:9], model="m", now_s=0.0)
    index.routed("b", TOKENS[:4], model="m", now_s=0.0)
    keys = chain.prefix_keys(TOKENS[:8], SIZE)
    assert {(entry.hash, entry.prefix_key, entry.provenance) for entry in index.entries("a")} == {
        (key, key, "route") for key in keys
    }
    assert [entry.hash for entry in index.entries("b")] == [keys[0]]
    assert index.entries("unknown") == ()


def test_a_prompt_without_a_full_block_teaches_the_local_index_nothing() -> None:
    index = LocalIndex(block_size=SIZE)
    index.routed("a", (1, 2, 3), model="m", now_s=0.0)
    assert (len(index), index._tables, index.match((1, 2, 3), model="m")) == (0, {}, {})
    index.purge("a")


def test_a_prompt_longer_than_the_local_index_leaves_its_beginning() -> None:
    index = LocalIndex(block_size=SIZE, blocks_max=2)
    index.routed("a", TOKENS, model="m", now_s=0.0)
    assert index.match(TOKENS, model="m") == {"a": 2}
    assert index.evicted_blocks == 0
    index.routed("a", (0, *TOKENS), model="m", now_s=0.0)
    assert (index.match(TOKENS, model="m"), index.evicted_blocks) == ({}, 2)


def test_the_local_index_loses_the_end_of_a_prompt_before_its_beginning() -> None:
    index = LocalIndex(block_size=SIZE, blocks_max=3)
    index.routed("a", TOKENS, model="m", now_s=0.0)
    index.routed("b", (7,) * SIZE, model="m", now_s=0.0)
    assert index.match(TOKENS, model="m") == {"a": 2}


def test_the_local_index_forgets_at_the_age_that_it_was_given() -> None:
    index = LocalIndex(block_size=SIZE)
    index.routed("a", TOKENS, model="m", now_s=10.0)
    index.routed("a", TOKENS[:SIZE], model="m", now_s=20.0)
    assert index.evict_idle(69.9, 60.0) == 0
    assert index.evict_idle(70.0, 60.0) == 2
    assert index.match(TOKENS, model="m") == {"a": 1}
