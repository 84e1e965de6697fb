"""From a decoded batch and the identity of its pod to calls on the index: which event means which call.

Only the GPU pool is indexed: offload connectors announce copies on "CPU" or "STORAGE" in the same stream,
and counting them together would keep a block alive in the index that the pool has evicted. Engines before
vLLM 0.10.2 send no medium, and some removals say nil: both mean the pool.

The pod is the one whose stream this is, whatever the event says. The adapter is the event's own (`lora_name`,
before vLLM 0.14 only `lora_id`), else the pod's (AIBrix's label `model.aibrix.ai/lora-id`), else none: the
same tokens under an adapter are another prefix, and blocks of an adapter must never be taken for the base
model's (AIBrix #2285). A removal names its block by hash alone and needs no adapter.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from resync.kvsync.records import GPU, AllBlocksCleared, Batch, BlockRemoved, BlockStored

INDEXED_MEDIA: Final[frozenset[str | None]] = frozenset({GPU, None})
NO_LORA: Final = -1
"""The LoRA id of what runs on the base model, in AIBrix's words."""


class EventSink(Protocol):
    """What a synced index must offer to be fed."""

    def store(self, pod_key: str, event: BlockStored) -> None:
        """One more copy of each block, under the adapter `event.lora_name`."""

    def remove(self, pod_key: str, event: BlockRemoved) -> None:
        """One copy less of each block, for this pod."""

    def clear(self, pod_key: str) -> None:
        """Nothing held any more."""


class AppliedCounts(msgspec.Struct, frozen=True, gc=False):
    """What one batch did: events by type, blocks by direction, and what was left out or read past."""

    stored_events: int = 0
    removed_events: int = 0
    cleared_events: int = 0
    stored_blocks: int = 0
    removed_blocks: int = 0
    other_medium_events: int = 0
    unknown_events: int = 0
    unknown_fields: int = 0

    def by_type(self) -> Mapping[str, int]:
        """Event type, as published -> events applied."""
        return {
            "BlockStored": self.stored_events,
            "BlockRemoved": self.removed_events,
            "AllBlocksCleared": self.cleared_events,
        }


def apply_batch(index: EventSink, pod_key: str, batch: Batch, *, lora_id: int = NO_LORA) -> AppliedCounts:
    """Apply every event of `batch` to `index` in order, as said by `pod_key`; what was done.

    `lora_id` is the adapter that the whole pod serves, `NO_LORA` for a pod of the base model.
    """
    stored = removed = cleared = stored_blocks = removed_blocks = other = 0
    for event in batch.events:
        if isinstance(event, AllBlocksCleared):
            index.clear(pod_key)
            cleared += 1
        elif event.medium not in INDEXED_MEDIA:
            other += 1
        elif isinstance(event, BlockStored):
            index.store(pod_key, under_its_adapter(event, lora_id))
            stored += 1
            stored_blocks += len(event.block_hashes)
        else:
            index.remove(pod_key, event)
            removed += 1
            removed_blocks += len(event.block_hashes)
    return AppliedCounts(
        stored,
        removed,
        cleared,
        stored_blocks,
        removed_blocks,
        other,
        len(batch.unknown_events),
        len(batch.unknown_fields),
    )


def under_its_adapter(event: BlockStored, pod_lora_id: int = NO_LORA) -> BlockStored:
    """The event with `lora_name` telling its adapter; an adapter without a name goes by its number."""
    if event.lora_name is not None or (event.lora_id is None and pod_lora_id == NO_LORA):
        return event
    lora_id = pod_lora_id if event.lora_id is None else event.lora_id
    return event if lora_id == NO_LORA else msgspec.structs.replace(event, lora_name=str(lora_id))
