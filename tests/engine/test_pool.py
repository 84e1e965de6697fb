"""The block pool: reuse, copies, LRU order, and the journal that truth is read from."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resync.engine.errors import JournalTooShortError, PoolExhaustedError
from resync.engine.hashing import ROOT_DIGEST, FullBlock, extend, low_64_bits
from resync.engine.history import History
from resync.engine.journal import Journal
from resync.engine.pool import BlockPool, Cleared, Happening, Removed, Stored
from resync.kvsync.chain import prefix_keys

BLOCK = 2


def chain_of(*tokens: int) -> list[FullBlock]:
    chain: list[FullBlock] = []
    extend(chain, tokens, block_size=BLOCK)
    return chain


def store(pool: BlockPool, chain: list[FullBlock], *, reuse: int = 0) -> list[int]:
    slots = pool.acquire(chain, reuse=reuse, fresh=len(chain) - reuse)
    pool.fill(slots[reuse:], chain[reuse:])
    return slots


def fold(index: Counter[int], happenings: list[Happening]) -> None:
    """The count index of a gateway that loses nothing."""
    for happening in happenings:
        match happening:
            case Stored(blocks):
                index.update(block.hash for block in blocks)
            case Removed(block):
                index[block.hash] -= 1
            case Cleared():
                index.clear()


def test_a_hash_is_the_low_64_bits_of_sha256_over_the_parent_and_the_tokens() -> None:
    first, second = chain_of(1, 2, 3, 4)
    digest = hashlib.sha256(ROOT_DIGEST + bytes([0, 0, 0, 1, 0, 0, 0, 2])).digest()
    assert (digest, low_64_bits(digest)) == (first.digest, first.hash)
    assert low_64_bits(hashlib.sha256(digest + bytes([0, 0, 0, 3, 0, 0, 0, 4])).digest()) == second.hash
    assert (None, first.hash) == (first.parent_hash, second.parent_hash)


def test_equal_tokens_behind_different_prefixes_are_different_blocks() -> None:
    assert chain_of(1, 2, 9, 9)[1] != chain_of(3, 4, 9, 9)[1]


def test_the_prefix_key_of_each_block_is_the_gateways_chain_over_the_tokens() -> None:
    assert list(prefix_keys((1, 2, 3, 4, 5), BLOCK)) == [b.prefix_key for b in chain_of(1, 2, 3, 4, 5)]


def test_room_is_made_before_it_is_used_one_removal_per_copy() -> None:
    pool = BlockPool(slots_total=2, block_size=BLOCK)
    old = chain_of(1, 1, 2, 2)
    pool.release(store(pool, old))
    pool.take_happenings()
    new = chain_of(3, 3, 4, 4)
    store(pool, new)
    assert [Removed(old[1]), Removed(old[0]), Stored(tuple(new))] == pool.take_happenings()


def test_the_tail_of_a_prefix_is_evicted_before_its_head() -> None:
    pool = BlockPool(slots_total=3, block_size=BLOCK)
    old = chain_of(1, 1, 2, 2, 3, 3)
    pool.release(store(pool, old))
    store(pool, chain_of(9, 9))
    assert pool.match(old) == 2


def test_a_reused_prefix_is_the_last_to_go() -> None:
    pool = BlockPool(slots_total=4, block_size=BLOCK)
    kept, lost = chain_of(1, 1, 2, 2), chain_of(3, 3, 4, 4)
    pool.release(store(pool, kept))
    pool.release(store(pool, lost))
    pool.release(pool.acquire(kept, reuse=2, fresh=0))
    store(pool, chain_of(5, 5, 6, 6))
    assert (pool.match(kept), pool.match(lost)) == (2, 0)


def test_asking_what_is_held_does_not_keep_it() -> None:
    pool = BlockPool(slots_total=2, block_size=BLOCK)
    first, second = chain_of(1, 1), chain_of(2, 2)
    pool.release(store(pool, first))
    pool.release(store(pool, second))
    pool.match(first)
    store(pool, chain_of(3, 3))
    assert (pool.match(first), pool.match(second)) == (0, 1)


def test_two_copies_are_two_blocks_until_both_are_gone() -> None:
    pool = BlockPool(slots_total=2, block_size=BLOCK)
    block = chain_of(1, 1)
    pool.release(store(pool, block))
    pool.release(store(pool, block))
    assert {block[0]: 2} == pool.held()
    store(pool, chain_of(2, 2))
    assert (pool.held()[block[0]], pool.match(block)) == (1, 1)
    store(pool, chain_of(3, 3))
    assert pool.match(block) == 0


def test_a_prefix_is_not_evicted_by_the_request_that_reuses_it() -> None:
    pool = BlockPool(slots_total=2, block_size=BLOCK)
    prefix = chain_of(1, 1)
    pool.release(store(pool, prefix))
    with pytest.raises(PoolExhaustedError, match="2 slots wanted, 1 free"):
        pool.acquire(prefix, reuse=1, fresh=2)
    assert (pool.slots_free, pool.match(prefix)) == (2, 1)


def test_a_full_pool_refuses_and_stays_as_it_was() -> None:
    pool = BlockPool(slots_total=1, block_size=BLOCK)
    store(pool, chain_of(1, 1))
    with pytest.raises(PoolExhaustedError):
        pool.acquire((), reuse=0, fresh=1)
    assert (pool.held().total(), pool.slots_free) == (1, 0)


def test_clearing_waits_for_users_then_drops_everything() -> None:
    pool = BlockPool(slots_total=2, block_size=BLOCK)
    slots = store(pool, chain_of(1, 1, 2, 2))
    assert not pool.clear()
    pool.release(slots)
    pool.take_happenings()
    assert pool.clear()
    assert ([Cleared()], 0, 2) == (pool.take_happenings(), pool.held().total(), pool.journal.removed_total)


def test_a_past_beyond_the_journal_is_an_error_not_a_guess() -> None:
    pool = BlockPool(slots_total=1, block_size=BLOCK, journal=Journal(changes_max=2))
    for token in range(3):
        pool.release(store(pool, chain_of(token, token)))
    assert [chain_of(2, 2)[0]] == list(pool.journal.undo(pool.held(), to=pool.journal.position))
    with pytest.raises(JournalTooShortError, match="reaches back to change 3, not to 2"):
        pool.journal.undo(pool.held(), to=2)


@given(st.lists(st.integers(0, 3), max_size=9))
def test_every_prefix_of_a_chain_is_the_chain_of_the_prefix(tokens: list[int]) -> None:
    whole = chain_of(*tokens)
    assert len(tokens) // BLOCK == len(whole)
    for cut in range(len(tokens) + 1):
        assert whole[: cut // BLOCK] == chain_of(*tokens[:cut])


prompts = st.lists(st.integers(0, 2), min_size=1, max_size=12)


class PoolMachine(RuleBasedStateMachine):
    """Requests come and go; what events, journal and pool say must be one thing at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.index: Counter[int] = Counter()
        self.running: list[list[int]] = []
        self.snapshots: list[Counter[FullBlock]] = [Counter()]

    @initialize(slots=st.integers(1, 8))
    def start(self, slots: int) -> None:
        self.pool = BlockPool(slots_total=slots, block_size=BLOCK)
        self.history = History(self.pool)

    @rule(tokens=prompts)
    def admit(self, tokens: list[int]) -> None:
        chain = chain_of(*tokens)
        reuse = self.pool.match(chain[: (len(tokens) - 1) // BLOCK])
        fresh = -(-len(tokens) // BLOCK) - reuse
        free, held = self.pool.slots_free, self.pool.held().copy()
        try:
            slots = self.pool.acquire(chain, reuse=reuse, fresh=fresh)
        except PoolExhaustedError:
            assert (free, held) == (self.pool.slots_free, self.pool.held())
            return
        self.pool.fill(slots[reuse : len(chain)], chain[reuse:])
        self.running.append(slots)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.pool.release(self.running.pop(data.draw(st.integers(0, len(self.running) - 1))))

    @rule()
    def clear(self) -> None:
        assert bool(self.running) != self.pool.clear()

    @rule()
    def publish(self) -> None:
        happenings = self.pool.take_happenings()
        if happenings:
            fold(self.index, happenings)
            self.snapshots.append(self.pool.held().copy())
            self.history.published(len(self.snapshots) - 2, wall_s=float(len(self.snapshots)))
            by_hash: Counter[int] = Counter()
            for block, copies in self.pool.held().items():
                by_hash[block.hash] += copies
            assert by_hash == +self.index
            assert all(copies >= 0 for copies in self.index.values())

    @invariant()
    def every_published_past_is_what_it_was(self) -> None:
        for place, snapshot in enumerate(self.snapshots):
            past = self.history.at(place - 1)
            assert snapshot == past.held
            assert len(snapshot.keys() ^ self.pool.held().keys()) == past.changed_blocks

    @invariant()
    def slots_are_free_or_used_and_none_is_lost(self) -> None:
        used = {slot for slots in self.running for slot in slots}
        assert self.pool.slots_total - len(used) == self.pool.slots_free
        assert self.pool.held().total() <= self.pool.slots_total
        journal = self.pool.journal
        assert journal.stored_total - journal.removed_total == self.pool.held().total()


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=30)
