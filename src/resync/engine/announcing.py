"""What happened in the pool, as vLLM's events: one hash per removal, one event per stored run of blocks."""

from collections.abc import Iterable

from resync.engine.pool import Cleared, Happening, Removed, Stored
from resync.kvsync.records import AllBlocksCleared, BlockRemoved, BlockStored, KVEvent


def announced(happenings: Iterable[Happening], *, block_size: int) -> tuple[KVEvent, ...]:
    """The events of one batch, in the order of happening."""
    return tuple(_event(happening, block_size) for happening in happenings)


def _event(happening: Happening, block_size: int) -> KVEvent:
    match happening:
        case Stored(blocks):
            return BlockStored(
                block_hashes=tuple(block.hash for block in blocks),
                parent_block_hash=blocks[0].parent_hash,
                token_ids=tuple(token for block in blocks for token in block.tokens),
                block_size=block_size,
            )
        case Removed(block):
            return BlockRemoved(block_hashes=(block.hash,))
        case Cleared():
            return AllBlocksCleared()
