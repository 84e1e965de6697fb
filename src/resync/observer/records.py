"""The two answers the observer reads, as typed records: an engine's truth and a gateway's index view.

Formats: docs/interfaces.md sections 2 and 3. Fields that the observer does not use are ignored, so either
side may add some.
"""

import msgspec

ROUTE = "route"
"""Provenance of an entry that the router guessed: no event stands behind it, so no truth can judge it."""

BlockRow = tuple[int, int, int, int]
"""Of a pool: group, hash, physical copies, prefix key."""
EntryRow = tuple[int, int, int, int | None, str]
"""Of an index: group, hash, copies, prefix key (None while the parent is unknown), provenance."""


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What one engine's block pool held when batch `seq` had been published (-1: before the first)."""

    incarnation: str
    seq: int
    published_seq: int
    blocks: list[BlockRow]
    changed_blocks: int
    oldest_pending_s: float | None
    stored_total: int
    removed_total: int


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """What one gateway believes about one pod."""

    applied_seq: int
    state: str
    exact: bool
    entries: list[EntryRow]

    def event_fed(self) -> list[EntryRow]:
        """The entries that events put there."""
        return [row for row in self.entries if row[4] != ROUTE]


class IndexView(msgspec.Struct, frozen=True, kw_only=True):
    """One atomic snapshot of one gateway's index; `pods` by pod key."""

    gateway: str
    at: float
    pods: dict[str, PodView]
