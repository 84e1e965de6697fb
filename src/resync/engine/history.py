"""Truth at a sequence: which blocks the pool held when batch N had been published. Pure.

The engine marks, for every batch it publishes, where the pool's journal stood. To answer for N, the pool's
content now is walked back to that mark. After every step, published or not, it notes where the journal stood
at which time: so it can also be told what has been held for a while. All are bounded; what is older than they
reach is an error that says so.
"""

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from resync.engine.errors import JournalTooShortError, SequenceAheadError
from resync.engine.hashing import FullBlock
from resync.engine.pool import BlockPool

MARKS_MAX = 10_000
"""Sequences that can still be answered for: as many as vLLM's replay ring keeps (`buffer_steps`)."""

MOMENTS_MAX = 10_000
"""Steps whose time is still known: at 5 ms a step, the last 50 s of work."""

BEFORE_FIRST = -1
"""The sequence that stands for "nothing published yet"."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Batch `seq` was published at `wall_s`; the journal stood at `position`."""

    seq: int
    position: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Past:
    """What a pool held at one sequence, and how far it has moved since."""

    seq: int
    published_seq: int
    held: Counter[FullBlock]
    changed_blocks: int
    oldest_pending_s: float | None


class History:
    """The marks of one incarnation, over one pool."""

    def __init__(self, pool: BlockPool, marks_max: int = MARKS_MAX, moments_max: int = MOMENTS_MAX) -> None:
        self.pool = pool
        self._marks: deque[Mark] = deque([Mark(BEFORE_FIRST, 0, 0.0)], maxlen=marks_max)
        self._moments: deque[tuple[float, int]] = deque([(-math.inf, 0)], maxlen=moments_max)

    @property
    def published_seq(self) -> int:
        """The last published sequence, -1 before the first."""
        return self._marks[-1].seq

    def published(self, seq: int, *, wall_s: float) -> None:
        """Batch `seq` tells of everything that has happened so far. Sequences come without holes, from 0."""
        assert seq == self.published_seq + 1, "batches are numbered one by one"
        self._marks.append(Mark(seq, self.pool.journal.position, wall_s))

    def stepped(self, *, monotonic_s: float) -> None:
        """All that has happened so far had happened by then."""
        self._moments.append((monotonic_s, self.pool.journal.position))

    def held_since(self, chain: Sequence[FullBlock], *, monotonic_s: float) -> int:
        """How many leading blocks of `chain` are held now and were already held by then.

        What the step under way then was computing does not count. Raises JournalTooShortError when it is
        forgotten what was held then.
        """
        position = next((place for at_s, place in reversed(self._moments) if at_s <= monotonic_s), None)
        if position is None:
            raise JournalTooShortError(f"what was held at {monotonic_s:.3f} s is forgotten")
        held, copies = chain[: self.pool.match(chain)], self.pool.held()
        then = self.pool.journal.undo(Counter({block: copies[block] for block in held}), to=position)
        return next((n for n, block in enumerate(held) if block not in then), len(held))

    def now(self) -> Past:
        """What the pool holds at this moment, published or not."""
        last = self.published_seq
        return Past(last, last, self.pool.held(), 0, None)

    def at(self, seq: int) -> Past:
        """What the pool held when batch `seq` had been published; -1: before the first batch.

        Raises SequenceAheadError when it has not been published, JournalTooShortError when it is forgotten.
        """
        place = self._place(seq)
        held_now = self.pool.held()
        held = self.pool.journal.undo(held_now, to=self._marks[place].position)
        return Past(
            seq=seq,
            published_seq=self.published_seq,
            held=held,
            changed_blocks=len(held.keys() ^ held_now.keys()),
            oldest_pending_s=None if seq == self.published_seq else self._marks[place + 1].wall_s,
        )

    def _place(self, seq: int) -> int:
        if seq > self.published_seq:
            raise SequenceAheadError(f"sequence {seq} is not published yet; the last is {self.published_seq}")
        place = seq - self._marks[0].seq
        if place < 0:
            raise JournalTooShortError(
                f"sequence {seq} is forgotten; the oldest known is {self._marks[0].seq}"
            )
        return place
