"""Which batches have been applied, which wait for a replay to close the hole before them, which must exist.

A number alone does not say which batch it was: a restarted publisher counts from 0 again, silently
(kv-events recorded from vLLM 0.32 over three lives). So each applied number keeps a fingerprint of its
payload; the same number with other content can only be another life.

The books. Every number up to the last applied one has met one of three ends: *applied*, *irrecoverable*
(given up, or not readable), *superseded* (given up, and made void by a clear that came later). Each is
entered where it is decided, none is computed from the others, so that `applied + 1` is their sum only if none
was passed over in silence.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from resync.kvsync.records import Message

NOTHING: Final = -1
"""The applied number before the first batch."""


class Relation(StrEnum):
    """Where a message stands to what has been applied."""

    NEXT = "next"
    AHEAD = "ahead"
    KNOWN = "known"
    RESTARTED = "restarted"


class Ledger:
    """The numbers of one life of one publisher. Limits are in batches.

    `applied` is the last number applied, `highest_known` the last that must exist: seen, or claimed by the
    publisher itself. `entered`, `superseded` and `irrecoverable` are the books, opened with this life.
    """

    def __init__(self, *, held_limit: int, fingerprint_limit: int) -> None:
        self._held_limit = held_limit
        self._fingerprint_limit = fingerprint_limit
        self._fingerprints: dict[int, int] = {}
        self._held: dict[int, Message] = {}
        self.applied = NOTHING
        self.highest_known = NOTHING
        self.entered = self.superseded = self.irrecoverable = 0

    def relation(self, message: Message) -> Relation:
        """Where `message` stands."""
        held = self._held.get(message.seq)
        if held is not None and held.payload != message.payload:
            return Relation.RESTARTED
        if message.seq > self.applied:
            return Relation.NEXT if message.seq == self.applied + 1 else Relation.AHEAD
        known = self._fingerprints.get(message.seq) == hash(message.payload)
        return Relation.KNOWN if known else Relation.RESTARTED

    def enter(self, message: Message) -> None:
        """`message` is applied now; if it waited, it no longer does."""
        self._held.pop(message.seq, None)
        self.applied = message.seq
        self.entered += 1
        self.highest_known = max(self.highest_known, message.seq)
        self._fingerprints[message.seq] = hash(message.payload)
        self._fingerprints.pop(message.seq - self._fingerprint_limit, None)

    def hold(self, message: Message) -> bool:
        """Whether there was room for `message` to wait; known to exist it is in any case."""
        self.highest_known = max(self.highest_known, message.seq)
        room = len(self._held) < self._held_limit
        if room:
            self._held[message.seq] = message
        return room

    @property
    def held_back(self) -> int:
        """How many batches wait."""
        return len(self._held)

    def is_news(self, seq: int) -> bool:
        """Whether the batch of that number is neither applied nor waiting."""
        return seq > self.applied and seq not in self._held

    def reach(self) -> int:
        """The last number up to which nothing is missing, counting what waits."""
        reach = self.applied
        while reach + 1 in self._held:
            reach += 1
        return reach

    def release(self) -> Iterator[Message]:
        """What waits, in the order of the numbers, for the caller to apply."""
        for seq in sorted(self._held):
            message = self._held.pop(seq)
            if seq > self.applied:
                yield message

    def keep_last_run(self) -> None:
        """Of what waits, keep what has no hole behind it.

        A hole could hide a removal, and leave a phantom.
        """
        newest = max(self._held, default=NOTHING)
        first = newest
        while first - 1 in self._held:
            first -= 1
        self._held = {seq: message for seq, message in self._held.items() if seq >= first}

    def write_off(self) -> None:
        """The numbers before what waits are given up."""
        first = min(self._held, default=self.applied + 1)
        self.irrecoverable += max(0, first - self.applied - 1)

    def write_off_last(self) -> None:
        """The last one entered could not be read."""
        self.entered -= 1
        self.irrecoverable += 1

    def supersede(self) -> None:
        """What was lost before says nothing that still holds."""
        self.superseded += self.irrecoverable
        self.irrecoverable = 0

    def forget_beyond(self) -> None:
        """Only what is applied is known."""
        self._held.clear()
        self.highest_known = self.applied

    def forget_applied(self) -> None:
        """The applied numbers may be those of a life that is over."""
        self.applied = NOTHING
        self.entered = self.superseded = self.irrecoverable = 0
        self._fingerprints.clear()

    def begin_anew(self) -> None:
        """Another life: nothing known holds."""
        self.forget_applied()
        self.forget_beyond()
