"""The pool's own diary: what became held and what stopped being held. It makes the past readable.

An audit compares what a gateway knew at sequence N with what the engine held *at sequence N*, while the
engine moves on. Keeping a snapshot per sequence would cost a pool copy per step. Keeping only the changes
costs two words per change, and walking back from now undoes exactly as many as happened since, which is few
because gateways are rarely far behind.

The diary is written by the pool as slots change, never from events: an event that is lost, wrong or never
sent does not alter it. It is bounded; a past older than that is an error, not a guess.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from resync.engine.errors import JournalTooShortError
from resync.engine.hashing import FullBlock

CHANGES_MAX = 100_000
"""Changes remembered: at 100 blocks a second stored and as many removed, over eight minutes."""


@dataclass(frozen=True, slots=True)
class Change:
    """One physical copy appeared (`copies` +1) or disappeared (-1)."""

    copies: int
    block: FullBlock


class Journal:
    """The last changes of a pool, and how many there ever were."""

    def __init__(self, changes_max: int = CHANGES_MAX) -> None:
        self._changes: deque[Change] = deque(maxlen=changes_max)
        self.stored_total = 0
        self.removed_total = 0

    @property
    def position(self) -> int:
        """Changes ever recorded; the place in the diary that means "now"."""
        return self.stored_total + self.removed_total

    @property
    def oldest_position(self) -> int:
        """The earliest place `undo` can still reach."""
        return self.position - len(self._changes)

    def stored(self, block: FullBlock) -> None:
        """Write down that one more copy of `block` is held."""
        self._changes.append(Change(1, block))
        self.stored_total += 1

    def removed(self, block: FullBlock) -> None:
        """Write down that one copy of `block` less is held."""
        self._changes.append(Change(-1, block))
        self.removed_total += 1

    def undo(self, held: Counter[FullBlock], *, to: int) -> Counter[FullBlock]:
        """`held` (copies per block now) as it was at position `to`, zero counts left out.

        Raises JournalTooShortError when `to` lies before `oldest_position`.
        """
        if to < self.oldest_position:
            raise JournalTooShortError(
                f"the journal reaches back to change {self.oldest_position}, not to {to}"
            )
        then = held.copy()
        for change in self._newest_first(self.position - to):
            then[change.block] -= change.copies
        return +then

    def _newest_first(self, count: int) -> Iterator[Change]:
        return islice(reversed(self._changes), count)
