"""The chain of prefix keys: which tokens a block stands for, whatever hash its engine gives it.

Engines hash blocks with a function and a seed of their own, so equal prompts need not have equal hashes on
two engines, and a router that has only the tokens of a request cannot compute any of them. AIBrix therefore
translates: every block gets a key of its own, xxhash64 of LE64(parent's key) followed by the block's
tokens, 4 bytes big-endian each; the parent of a first block is the seed (AIBrix,
`syncprefixcacheindexer/sync_hash.go`). Equal keys mean equal prefixes.
"""

import struct
from collections.abc import Sequence

import xxhash

from resync.kvsync.records import MASK_64

TOKEN_MASK = (1 << 32) - 1


def prefix_key(parent_key: int, tokens: Sequence[int]) -> int:
    """The key of the block with these tokens behind `parent_key` (the seed for a first block).

    Unsigned 64-bit.
    """
    data = struct.pack(f"<Q{len(tokens) * 4}s", parent_key & MASK_64, _big_endian(tokens))
    return int(xxhash.xxh64_intdigest(data))


def _big_endian(tokens: Sequence[int]) -> bytes:
    try:
        return struct.pack(f">{len(tokens)}I", *tokens)
    except struct.error:  # negative or above 32 bits: keep the low 32, as a fixed-width reader would
        return struct.pack(f">{len(tokens)}I", *(token & TOKEN_MASK for token in tokens))


def prefix_keys(tokens: Sequence[int], block_size: int, seed: int = 0) -> tuple[int, ...]:
    """The keys of all full blocks of `tokens`, first block first; a partial last block has none."""
    keys: list[int] = []
    parent = seed
    for start in range(0, len(tokens) - block_size + 1, block_size):
        parent = prefix_key(parent, tokens[start : start + block_size])
        keys.append(parent)
    return tuple(keys)
