"""The chain of prefix keys: which tokens a block stands for, whatever hash its engine gives it.

Engines hash blocks with a function and a seed of their own, so equal prompts need not have equal hashes on
two engines, and a router that has only the tokens of a request cannot compute any of them. AIBrix therefore
translates: every block gets a key of its own, xxhash64 (seeded) of LE64(parent's key) followed by the block's
tokens, 4 bytes big-endian each; the parent of a first block is the seed (AIBrix,
`syncprefixcacheindexer/sync_hash.go`). Equal keys mean equal prefixes.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

from xxhash import xxh64_intdigest

from resync.kvsync.records import MASK_64

TOKEN_MASK: Final = (1 << 32) - 1
TOKEN_BYTES: Final = 4

AT_ONCE_MAX: Final = 64
"""Blocks cut out of their bytes by one call: quicker, but its layout is as long as the blocks are many."""


def prefix_key(parent_key: int, tokens: Sequence[int], seed: int = 0) -> int:
    """The key of the block with these tokens behind `parent_key` (the seed for a first block).

    Unsigned 64-bit.
    """
    return block_key(parent_key & MASK_64, token_bytes(tokens), seed)


def block_key(parent_key: int, block: bytes, seed: int = 0) -> int:
    """The same for a block that is bytes already, behind an unsigned parent."""
    key: int = xxh64_intdigest(_link(len(block))(parent_key, block), seed)
    return key


def prefix_keys(
    tokens: Sequence[int], block_size: int, seed: int = 0, parent_key: int | None = None
) -> tuple[int, ...]:
    """The keys of all full blocks of `tokens`, first block first; a partial last block has none.

    The first of them hangs on `parent_key`, or is a root where that is None.
    """
    key = (seed if parent_key is None else parent_key) & MASK_64
    whole = len(tokens) - len(tokens) % block_size
    data = token_bytes(tokens if whole == len(tokens) else tokens[:whole])
    link, blocks = _link(block_size * TOKEN_BYTES), _blocks(block_size * TOKEN_BYTES, whole // block_size)
    return tuple([key := xxh64_intdigest(link(key, block), seed) for block in blocks(data)])


def token_bytes(tokens: Sequence[int]) -> bytes:
    """Each token as 4 bytes, big-endian."""
    try:
        return _big_endian(len(tokens))(*tokens)
    except struct.error:  # negative or above 32 bits: keep the low 32, as a fixed-width reader would
        return _big_endian(len(tokens))(*(token & TOKEN_MASK for token in tokens))


@lru_cache(maxsize=256)
def _big_endian(count: int) -> Callable[..., bytes]:
    return struct.Struct(f">{count}I").pack


@lru_cache(maxsize=64)
def _link(block_bytes: int) -> Callable[[int, bytes], bytes]:
    return struct.Struct(f"<Q{block_bytes}s").pack


@lru_cache(maxsize=2 * AT_ONCE_MAX)
def _blocks(block_bytes: int, count: int) -> Callable[[bytes], Iterable[bytes]]:
    if count <= AT_ONCE_MAX:
        return struct.Struct(f"{block_bytes}s" * count).unpack
    one_by_one = struct.Struct(f"{block_bytes}s").iter_unpack
    return lambda data: (block for (block,) in one_by_one(data))
