"""The local prefix index: guesses, made of nothing but where requests were sent.

What a router goes by when no engine publishes events (AIBrix' original `prefixcacheindexer`): a pod that was
sent a prompt is believed to hold its blocks until they are the least recently routed of too many, or too old.
It is never told of an eviction, a restart or a failed request, so it can be wrong in both directions, and an
entry says so: its provenance is "route".
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from resync.kvsync import chain
from resync.kvsync.index import IndexEntry
from resync.kvsync.matching import ContextName, PodBits, longest_prefixes

ROUTE_PROVENANCE: Final = "route"
BLOCKS_MAX: Final = 200_000
"""AIBrix' default (`AIBRIX_PREFIX_CACHE_BLOCK_NUMBER`)."""


class LocalIndex:
    """Believed prefixes by pod, at most `blocks_max` different blocks of all models together."""

    def __init__(self, *, block_size: int, seed: int = 0, blocks_max: int = BLOCKS_MAX) -> None:
        self.block_size = block_size
        self.seed = seed
        self.blocks_max = blocks_max
        self.evicted_blocks = 0
        self._bits = PodBits()
        self._tables: dict[ContextName, dict[int, int]] = {}
        # Least recently routed first -> when that was.
        self._routed_s: OrderedDict[tuple[ContextName, int], float] = OrderedDict()

    def match(
        self, token_ids: Sequence[int], lora_name: str | None = None, *, model: str = ""
    ) -> dict[str, int]:
        """Pod -> blocks (at least 1) of the longest contiguous prefix that it is believed to hold."""
        holders = self._tables.get((model, lora_name), {})
        return longest_prefixes(holders, self._bits, token_ids, self.block_size, self.seed)

    def routed(
        self,
        pod_key: str,
        token_ids: Sequence[int],
        lora_name: str | None = None,
        *,
        model: str,
        now_s: float,
    ) -> None:
        """Believe that the pod holds the blocks of a prompt that goes there, as many as fit."""
        keys = chain.prefix_keys(token_ids[: self.blocks_max * self.block_size], self.block_size, self.seed)
        if not keys:
            return
        name = model, lora_name
        bit = self._bits.take(pod_key)
        holders = self._tables.setdefault(name, {})
        for key in reversed(keys):  # a block is of no use without those before it: they are to go last
            holders[key] = holders.get(key, 0) | bit
            self._routed_s[name, key] = now_s
            self._routed_s.move_to_end((name, key))
        while len(self._routed_s) > self.blocks_max:
            self._evict_oldest()

    def evict_idle(self, now_s: float, idle_s: float) -> int:
        """Forget the blocks that no request has gone to for `idle_s`; how many those were."""
        before = self.evicted_blocks
        while self._routed_s and now_s - next(iter(self._routed_s.values())) >= idle_s:
            self._evict_oldest()
        return self.evicted_blocks - before

    def purge(self, pod_key: str) -> None:
        """Forget the pod."""
        bit = self._bits.leave(pod_key)
        for name, key in [*self._routed_s] if bit else ():
            holders = self._tables[name]
            holders[key] &= ~bit
            if not holders[key]:
                self._forget(name, key)
                del self._routed_s[name, key]

    def entries(self, pod_key: str) -> tuple[IndexEntry, ...]:
        """What the pod is believed to hold; a block is named by its prefix key, for its hash is unknown."""
        return tuple(
            IndexEntry(0, key, 1, key, ROUTE_PROVENANCE)
            for holders in self._tables.values()
            for key, mask in holders.items()
            if pod_key in self._bits.of(mask)
        )

    def __len__(self) -> int:
        """How many different blocks are believed in."""
        return len(self._routed_s)

    def _evict_oldest(self) -> None:
        (name, key), _ = self._routed_s.popitem(last=False)
        self._forget(name, key)
        self.evicted_blocks += 1

    def _forget(self, name: ContextName, key: int) -> None:
        del self._tables[name][key]
        if not self._tables[name]:
            del self._tables[name]
