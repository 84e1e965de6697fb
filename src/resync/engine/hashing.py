"""The two names of a KV block: the engine's chained hash, and the key a gateway computes for its prefix.

A full block is `block_size` tokens *at one place*: what its keys and values are depends on every token before
it. So both names chain over the parent. The engine's is sha256 over the parent's digest and the tokens;
published is its low 64 bits (the last 8 bytes, big-endian) or all 32 bytes. vLLM serialises the pair before
hashing; ours is plain bytes, because no reader may depend on the digest's value, only on equal prefixes
having equal digests in every engine. That they are equal in every process and every life is vLLM's behaviour
since 0.29.0 (a fixed seed, "vllm-none-hash").
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from resync.kvsync.chain import prefix_key

ROOT_DIGEST = hashlib.sha256(b"vllm-none-hash").digest()
PREFIX_SEED = 0
"""Stands in for a root's parent in the gateway's chain (AIBrix: the seed of the hash)."""


@dataclass(frozen=True, slots=True)
class FullBlock:
    """What a filled slot contains: its tokens, and where in which prefix they stand."""

    digest: bytes = field(repr=False)
    """Identifies the block: equal digests are equal blocks, the other fields follow from it."""
    hash: int = field(compare=False)
    prefix_key: int = field(compare=False)
    parent_hash: int | None = field(compare=False)
    tokens: tuple[int, ...] = field(compare=False, repr=False)


def low_64_bits(digest: bytes) -> int:
    """The unsigned integer vLLM publishes for a 32-byte hash (`kv_cache_utils.maybe_convert_block_hash`)."""
    return int.from_bytes(digest[-8:], "big")


def _chained(parent: FullBlock | None, tokens: tuple[int, ...]) -> FullBlock:
    parent_digest = ROOT_DIGEST if parent is None else parent.digest
    digest = hashlib.sha256(parent_digest + struct.pack(f">{len(tokens)}I", *tokens)).digest()
    return FullBlock(
        digest=digest,
        hash=low_64_bits(digest),
        prefix_key=prefix_key(PREFIX_SEED if parent is None else parent.prefix_key, tokens),
        parent_hash=None if parent is None else parent.hash,
        tokens=tokens,
    )


def extend(chain: list[FullBlock], tokens: Sequence[int], *, block_size: int) -> None:
    """Append to `chain` the full blocks of `tokens` it does not cover yet; a partial last one is left out."""
    for start in range(len(chain) * block_size, len(tokens) - block_size + 1, block_size):
        chain.append(_chained(chain[-1] if chain else None, tuple(tokens[start : start + block_size])))
