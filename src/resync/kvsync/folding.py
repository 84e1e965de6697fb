"""A second opinion on the index: an engine's stream folded into what that engine must hold.

Shares no code with the index, the chain of keys or the handlers, so that each can judge the other; with
`rereading` in front of it, none with the decoder either.

The rule per event, as vLLM's block pool publishes it (`vllm/v1/core/block_pool.py`): a store adds one
physical copy of each hash, a removal takes one, a clear takes all; nothing goes below zero, and only the GPU
pool counts. Two things a stream does not say: a clear is published with the next step only, and a full
report (`kv_cache_report_mode`) stores what has no new copy. There it differs from the engine, as any count.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec
import xxhash

from resync.kvsync.records import AllBlocksCleared, Batch, BlockHash, BlockRemoved, BlockStored

BlockKey: TypeAlias = tuple[int, BlockHash]
"""(group, hash)."""

_POOL: Final = {"GPU", None}


class Held(msgspec.Struct, frozen=True, gc=False):
    """A block that an engine holds: physical copies, and which prefix it really is (None: unknown)."""

    copies: int
    prefix_key: int | None


def fold(batches: Iterable[Batch], seed: int = 0) -> dict[BlockKey, Held]:
    """What an engine holds after publishing exactly these batches, from its first one on.

    Prefix keys are AIBrix's (`syncprefixcacheindexer/sync_hash.go`): seeded xxhash64 of LE64(parent's key,
    or the seed) and each token as 4 bytes, big-endian.
    """
    copies: Counter[BlockKey] = Counter()
    keys: dict[BlockHash, int] = {}
    for batch in batches:
        for event in batch.events:
            match event:
                case AllBlocksCleared():
                    copies.clear()
                case BlockRemoved() if event.medium in _POOL:
                    copies -= Counter((event.group_idx, one) for one in event.block_hashes)
                case BlockStored() if event.medium in _POOL:
                    copies.update((event.group_idx, one) for one in event.block_hashes)
                    _learn(keys, event, seed)
    return {key: Held(count, keys.get(key[1])) for key, count in copies.items() if count > 0}


def _learn(keys: dict[BlockHash, int], event: BlockStored, seed: int) -> None:
    parent = seed if event.parent_block_hash is None else keys.get(event.parent_block_hash)
    size = event.block_size
    if parent is None or len(event.token_ids) != size * len(event.block_hashes):
        return
    for position, block_hash in enumerate(event.block_hashes):
        block = event.token_ids[position * size : (position + 1) * size]
        digest = xxhash.xxh64(parent.to_bytes(8, "little"), seed=seed)
        digest.update(b"".join((token % 2**32).to_bytes(4, "big") for token in block))
        keys[block_hash] = parent = digest.intdigest()
