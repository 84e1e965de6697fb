"""The chain of prefix keys, and the counter and ring of a publisher."""

from itertools import accumulate

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from resync.kvsync import chain, wire
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import AllBlocksCleared, Batch

pytestmark = pytest.mark.unit

EMPTY = Batch(1.0, (AllBlocksCleared(),))


def test_the_key_is_the_hash_of_parent_and_tokens_byte_for_byte() -> None:
    data = bytes.fromhex("0807060504030201") + bytes.fromhex("0000000100000200")
    assert chain.prefix_key(0x0102030405060708, [1, 512]) == xxhash.xxh64_intdigest(data, 0)


def test_keys_are_of_full_blocks_and_chain_from_the_seed() -> None:
    first = chain.prefix_key(9, [1, 2], seed=9)
    second = chain.prefix_key(first, [3, 4], seed=9)
    assert chain.prefix_keys([1, 2, 3, 4, 5], 2, seed=9) == (first, second)
    assert chain.prefix_keys([3, 4], 2, seed=9, parent_key=first) == (second,)
    assert chain.prefix_keys([1], 2) == ()


@pytest.mark.parametrize("blocks", [chain.AT_ONCE_MAX - 1, chain.AT_ONCE_MAX, chain.AT_ONCE_MAX + 1])
@pytest.mark.parametrize("rest", [0, 1])
def test_many_blocks_have_the_keys_that_each_has_behind_the_one_before(blocks: int, rest: int) -> None:
    tokens = list(range(7, 7 + 3 * blocks + rest))
    pairs = zip(*[iter(tokens)] * 3, strict=False)
    one_by_one = accumulate(pairs, lambda key, block: chain.prefix_key(key, block, seed=9), initial=9)
    assert chain.prefix_keys(tokens, 3, seed=9) == tuple(one_by_one)[1:]


def test_a_token_beyond_32_bits_counts_by_its_low_32() -> None:
    assert chain.prefix_keys([-1, 2**32 + 5], 2) == chain.prefix_keys([2**32 - 1, 5], 2)


def test_the_seed_is_the_first_parent_and_the_hash_s_own_seed() -> None:
    """AIBrix `getPrefixHashes`: the digest is seeded, and a first block's parent is the seed as well."""
    seed = 0x1122334455667788
    data = bytes.fromhex("8877665544332211") + bytes.fromhex("0000000100000200")
    assert chain.prefix_keys([1, 512], 2, seed=seed) == (xxhash.xxh64_intdigest(data, seed),)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=12), st.integers(0, 11))
def test_a_changed_token_changes_its_block_and_all_behind_it(tokens: list[int], at: int) -> None:
    at %= len(tokens) - len(tokens) % 2
    changed = [*tokens]
    changed[at] ^= 1
    same = [a == b for a, b in zip(chain.prefix_keys(tokens, 2), chain.prefix_keys(changed, 2), strict=True)]
    assert same == [block < at // 2 for block in range(len(tokens) // 2)]


def test_numbers_begin_at_0_and_grow_by_batch() -> None:
    publisher = Publisher(topic=b"t")
    assert publisher.published_seq == -1
    assert [publisher.publish(EMPTY).seq for _ in range(3)] == [0, 1, 2]
    assert publisher.published_seq == 2


@pytest.mark.parametrize(
    ("start", "expected"), [(0, [5, 6, 7]), (5, [5, 6, 7]), (6, [6, 7]), (7, [7]), (8, []), (2**64 - 1, [])]
)
def test_a_replay_begins_where_asked_or_where_the_ring_begins(start: int, expected: list[int]) -> None:
    publisher = Publisher(buffer_steps=3)
    sent = [publisher.publish(EMPTY) for _ in range(8)]
    assert list(publisher.replay(start)) == [sent[seq] for seq in expected]


def test_an_empty_ring_replays_nothing() -> None:
    assert Publisher().replay(0) == ()


def test_what_is_replayed_is_what_was_sent() -> None:
    publisher = Publisher()
    message = publisher.publish(EMPTY)
    assert publisher.replay(0) == (message,)
    assert wire.decode_batch(message.payload) == EMPTY
