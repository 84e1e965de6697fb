"""From a decoded batch to calls on the index: the only place that knows which event means which call.

Only the GPU pool is indexed: offload connectors announce copies on "CPU" or "STORAGE" in the same stream,
and counting them together would keep a block alive in the index that the pool has evicted. Engines before
vLLM 0.10.2 send no medium, and some removals say nil: both mean the pool.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from resync.kvsync.records import GPU, AllBlocksCleared, Batch, BlockRemoved, BlockStored, KVEvent

INDEXED_MEDIA: Final[frozenset[str | None]] = frozenset({GPU, None})


class EventSink(Protocol):
    """What a synced index must offer to be fed."""

    def store(self, pod_key: str, event: BlockStored) -> None:
        """One more copy of each block."""

    def remove(self, pod_key: str, event: BlockRemoved) -> None:
        """One copy less of each block, for this pod."""

    def clear(self, pod_key: str) -> None:
        """Nothing held any more."""


class AppliedCounts(msgspec.Struct, frozen=True, gc=False):
    """What one batch did: events by type, blocks by direction, and what was left out."""

    stored_events: int = 0
    removed_events: int = 0
    cleared_events: int = 0
    stored_blocks: int = 0
    removed_blocks: int = 0
    other_medium_events: int = 0
    unknown_events: int = 0

    def by_type(self) -> Mapping[str, int]:
        """Event type, as published -> events applied."""
        return {
            "BlockStored": self.stored_events,
            "BlockRemoved": self.removed_events,
            "AllBlocksCleared": self.cleared_events,
        }


def apply_batch(index: EventSink, pod_key: str, batch: Batch) -> AppliedCounts:
    """Apply every event of `batch` to `index` in order, as said by `pod_key`; what was done."""
    stored = removed = cleared = stored_blocks = removed_blocks = other = 0
    for event in batch.events:
        if not is_indexed(event):
            other += 1
        elif isinstance(event, BlockStored):
            index.store(pod_key, event)
            stored += 1
            stored_blocks += len(event.block_hashes)
        elif isinstance(event, BlockRemoved):
            index.remove(pod_key, event)
            removed += 1
            removed_blocks += len(event.block_hashes)
        else:
            index.clear(pod_key)
            cleared += 1
    return AppliedCounts(
        stored, removed, cleared, stored_blocks, removed_blocks, other, len(batch.unknown_events)
    )


def is_indexed(event: KVEvent) -> bool:
    """Whether the event is about the GPU pool."""
    return isinstance(event, AllBlocksCleared) or event.medium in INDEXED_MEDIA
