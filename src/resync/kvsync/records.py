"""The words of the KV-event stream as frozen records: past the wire there is nothing else.

Names follow vLLM's `kv_events.py`. A block hash is kept in one canonical form, because the same block is
announced as an unsigned 64-bit int by most engines and as 32 raw bytes by others
(`VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=0`): the int is the LOW 64 bits of those bytes, and old versions sent
Python ints that can be negative.
"""

from typing import TypeAlias

import msgspec

BlockHash: TypeAlias = int
"""Unsigned 64-bit: the low 64 bits of whatever the engine sent."""

MASK_64 = (1 << 64) - 1
HASH_BYTES_MIN = 8
"""Fewer bytes are no hash of any engine: sha256 has 32, xxhash 16, the canonical form keeps 8."""
GPU = "GPU"


def canonical_hash(value: int | bytes) -> BlockHash:
    """The canonical form of a published hash: ints masked to 64 bits, bytes by their last 8, big-endian."""
    if isinstance(value, bytes):
        return int.from_bytes(value[-8:], "big")
    return value & MASK_64


class BlockStored(msgspec.Struct, frozen=True, gc=False):
    """Blocks that are now cached: one hash per `block_size` tokens, chained on the parent (None: a root).

    Models with several cache groups announce masked ranges, in which there are fewer hashes than blocks of
    tokens. An adapter is named by `lora_name`, before vLLM 0.14 only by `lora_id`.
    """

    block_hashes: tuple[BlockHash, ...]
    parent_block_hash: BlockHash | None
    token_ids: tuple[int, ...]
    block_size: int
    lora_name: str | None = None
    medium: str | None = GPU
    group_idx: int = 0
    lora_id: int | None = None


class BlockRemoved(msgspec.Struct, frozen=True, gc=False):
    """One physical copy of each of these blocks is gone from the sending engine, and from no other."""

    block_hashes: tuple[BlockHash, ...]
    medium: str | None = GPU
    group_idx: int = 0


class AllBlocksCleared(msgspec.Struct, frozen=True, gc=False):
    """The sending engine has dropped its whole prefix cache."""


KVEvent: TypeAlias = BlockStored | BlockRemoved | AllBlocksCleared


class Batch(msgspec.Struct, frozen=True):
    """One numbered message's content: what one engine step did, in the order in which it happened.

    `ts` is the engine's wall time in seconds. `unknown_events` names what was skipped: the type's name
    where the type is unknown, "type: reason" where an event was malformed; the latter also counts in
    `malformed`. `unknown_fields` names what was read past, as "type.field" or "type.[position]".
    """

    ts: float
    events: tuple[KVEvent, ...]
    dp_rank: int | None = 0
    unknown_events: tuple[str, ...] = ()
    malformed: int = 0
    unknown_fields: tuple[str, ...] = ()


class Message(msgspec.Struct, frozen=True, gc=False):
    """A numbered payload as it travels: `seq` counts batches of one publisher, from 0."""

    topic: bytes
    seq: int
    payload: bytes


class ReplayEnd(msgspec.Struct, frozen=True, gc=False):
    """The marker behind the last replayed batch. It does not mean that nothing was lost on the way."""
