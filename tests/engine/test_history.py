"""Truth at a sequence: rewound exactly, dated by the batch that is missing, refused when unknowable."""

import pytest

from resync.engine.errors import JournalTooShortError, SequenceAheadError
from resync.engine.hashing import FullBlock, extend
from resync.engine.history import History
from resync.engine.journal import Journal
from resync.engine.pool import BlockPool

SINCE = (9.9, 10.0, 19.9, 20.0, 99.0)


def store_one(pool: BlockPool, token: int) -> FullBlock:
    chain: list[FullBlock] = []
    extend(chain, (token,), block_size=1)
    slots = pool.acquire((), reuse=0, fresh=1)
    pool.fill(slots, chain)
    pool.release(slots)
    return chain[0]


def test_what_is_pending_is_as_old_as_the_first_batch_not_seen() -> None:
    history = History(BlockPool(slots_total=4, block_size=1))
    for seq in range(3):
        store_one(history.pool, seq)
        history.published(seq, wall_s=100.0 + seq)
    assert [history.at(seq).oldest_pending_s for seq in (-1, 0, 1, 2)] == [100.0, 101.0, 102.0, None]


def test_changes_that_are_not_published_yet_are_in_now_and_in_no_sequence() -> None:
    history = History(BlockPool(slots_total=1, block_size=1))
    told = store_one(history.pool, 1)
    history.published(0, wall_s=1.0)
    untold = store_one(history.pool, 2)
    assert (list(history.at(0).held), list(history.now().held)) == ([told], [untold])
    assert (history.at(0).changed_blocks, history.at(0).oldest_pending_s) == (2, None)


def test_a_block_that_went_and_came_back_has_not_changed() -> None:
    history = History(BlockPool(slots_total=1, block_size=1))
    for seq, token in enumerate((1, 2, 1)):
        store_one(history.pool, token)
        history.published(seq, wall_s=1.0)
    assert [history.at(seq).changed_blocks for seq in (-1, 0, 1, 2)] == [1, 0, 2, 0]


def test_what_is_not_published_is_refused() -> None:
    with pytest.raises(SequenceAheadError, match="sequence 0 is not published yet; the last is -1"):
        History(BlockPool(slots_total=1, block_size=1)).at(0)


def test_a_sequence_older_than_the_marks_is_refused() -> None:
    history = History(BlockPool(slots_total=9, block_size=1), marks_max=2)
    for seq in range(3):
        store_one(history.pool, seq)
        history.published(seq, wall_s=1.0)
    assert history.at(1).held.total() == 2
    with pytest.raises(JournalTooShortError, match="sequence 0 is forgotten; the oldest known is 1"):
        history.at(0)


def test_a_sequence_older_than_the_journal_is_refused() -> None:
    history = History(BlockPool(slots_total=9, block_size=1, journal=Journal(changes_max=1)))
    for seq in range(3):
        store_one(history.pool, seq)
        history.published(seq, wall_s=1.0)
    assert history.at(1).held.total() == 2
    with pytest.raises(JournalTooShortError, match="reaches back to change 2, not to 1"):
        history.at(0)


def at(history: History, at_s: float, *tokens: int) -> list[FullBlock]:
    """A step that ends at `at_s` and stores these, each in the place of the oldest."""
    stored = [store_one(history.pool, token) for token in tokens]
    history.stepped(monotonic_s=at_s)
    return stored


def test_held_since_is_held_then_and_now() -> None:
    history = History(BlockPool(slots_total=2, block_size=1))
    (old,) = at(history, 10.0, 1)
    (young,) = at(history, 20.0, 2)
    asked = {
        since_s: [history.held_since([b], monotonic_s=since_s) for b in (old, young)] for since_s in SINCE
    }
    assert asked == {9.9: [0, 0], 10.0: [1, 0], 19.9: [1, 0], 20.0: [1, 1], 99.0: [1, 1]}
    at(history, 30.0, 3)
    assert [history.held_since([b], monotonic_s=20.0) for b in (old, young)] == [0, 1]


def test_what_the_step_under_way_computes_has_not_been_held() -> None:
    history = History(BlockPool(slots_total=2, block_size=1))
    at(history, 10.0)
    block = store_one(history.pool, 1)
    assert history.now().held == {block: 1}
    assert history.held_since([block], monotonic_s=11.0) == 0


def test_a_second_copy_makes_a_block_no_younger() -> None:
    history = History(BlockPool(slots_total=2, block_size=1))
    (block,) = at(history, 10.0, 1)
    at(history, 20.0, 1)
    assert history.now().held == {block: 2}
    assert history.held_since([block], monotonic_s=15.0) == 1


def test_of_a_prefix_the_leading_blocks_count() -> None:
    history = History(BlockPool(slots_total=3, block_size=1))
    chain: list[FullBlock] = []
    extend(chain, (1, 2, 3), block_size=1)
    slots = history.pool.acquire((), reuse=0, fresh=3)
    history.pool.fill(slots[:2], chain[:2])
    history.stepped(monotonic_s=10.0)
    history.pool.fill(slots[2:], chain[2:])
    history.stepped(monotonic_s=20.0)
    assert [history.held_since(chain, monotonic_s=since_s) for since_s in (9.0, 10.0, 20.0)] == [0, 2, 3]


def test_a_moment_older_than_those_remembered_is_refused() -> None:
    history = History(BlockPool(slots_total=9, block_size=1), moments_max=1)
    (block,) = at(history, 10.0, 1)
    assert history.held_since([block], monotonic_s=10.0) == 1
    with pytest.raises(JournalTooShortError, match=r"what was held at 9\.900 s is forgotten"):
        history.held_since([block], monotonic_s=9.9)
