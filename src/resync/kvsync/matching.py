"""How far into a prompt each pod's prefix reaches: the one question both indexes answer.

A table says for each prefix key which pods hold it, as bits of one integer. Following a prompt then costs one
look-up and one comparison a block, however many pods hold it, and whatever else they hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from resync.kvsync import chain

ContextName: TypeAlias = tuple[str, str | None]
"""(model, LoRA adapter or None): the same tokens in another context are another prefix."""

STRETCH_BLOCKS: Final = 64
"""Blocks whose keys are computed at once: cheap together, wasted behind the last match."""


class PodBits:
    """A bit for each known pod; that of a pod which left is given to the next one that comes."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def take(self, pod_key: str) -> int:
        """The pod's bit, found or given."""
        bit = self._bits.get(pod_key)
        if bit is None:
            bit = 1
            while bit in self._names:
                bit <<= 1
            self._bits[pod_key] = bit
            self._names[bit] = pod_key
        return bit

    def leave(self, pod_key: str) -> int:
        """Give the pod's bit back, which no table may have any more; 0 when it had none."""
        bit = self._bits.pop(pod_key, 0)
        self._names.pop(bit, None)
        return bit

    def of(self, mask: int) -> Iterator[str]:
        """The pods whose bits are set."""
        while mask:
            bit = mask & -mask
            yield self._names[bit]
            mask ^= bit


def longest_prefixes(
    holders: Mapping[int, int], pods: PodBits, token_ids: Sequence[int], block_size: int, seed: int
) -> dict[str, int]:
    """Pod -> blocks (at least 1) of the longest contiguous prefix of `token_ids` that it holds.

    The first block is looked up by itself: a prompt that nobody knows costs one key.
    """
    if chain.prefix_key(seed, token_ids[:block_size], seed) not in holders:
        return {}
    matched: dict[str, int] = {}
    alive = 0
    key = seed
    stretch = block_size * STRETCH_BLOCKS
    for start in range(0, len(token_ids), stretch):
        keys = chain.prefix_keys(token_ids[start : start + stretch], block_size, seed, key)
        for depth, mask in enumerate(map(holders.get, keys), start // block_size):
            if mask != alive:
                still = alive & (mask or 0) if depth else mask or 0
                matched.update(dict.fromkeys(pods.of(alive & ~still), depth))
                alive = still
                if not alive:
                    return matched
        key = keys[-1] if keys else key
    matched.update(dict.fromkeys(pods.of(alive), len(token_ids) // block_size))
    return matched
