"""The synced prefix index: which pod holds which prefix, fed by nothing but KV events.

Three rules that the field gets wrong (the facts behind them were measured on vLLM and AIBrix):

* **Count copies.** An engine does not de-duplicate: one hash can sit in several physical blocks, each
  announced and removed by itself. A set forgets a block that is still there with the first removal (vLLM PR
  55092).
* **Only the sender loses.** A removal says something about one engine. Deleting the prefix for every pod
  (AIBrix before #2723) makes all others cold.
* **Chain inside an event, and never invent a root.** The second hash of an event hangs on the first, not on
  the event's parent; a block whose parent is unknown is an *orphan*: held, counted, without a prefix key,
  so it cannot match. It is adopted when its parent's key becomes known. Calling it a root would match the
  wrong prompts.

A fourth is ours: **whatever is left out is said.** A limit that refuses a block, or the eviction of an idle
context, leaves the index short of what an engine holds, never beyond it; the pod *lacks* blocks from then on
(`lacks`), until it is cleared or purged, and statistics count them.

What is known of a pod's blocks is in `resync.kvsync.holdings`. Beside that, one table per context (model,
LoRA adapter) says which pods hold a key, as bits of one integer, so that a match costs the same however many
pods hold this prefix or others.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from resync.kvsync import chain
from resync.kvsync.holdings import Context, Holdings, IndexLimits
from resync.kvsync.matching import ContextName, PodBits, longest_prefixes
from resync.kvsync.records import MASK_64, BlockHash, BlockRemoved, BlockStored

EVENT_PROVENANCE: Final = "event"


class IndexEntry(msgspec.Struct, frozen=True, gc=False):
    """One block as the index sees it; `prefix_key` is None while its prefix is unknown (it cannot match)."""

    group: int
    hash: BlockHash
    copies: int
    prefix_key: int | None
    provenance: str = EVENT_PROVENANCE


class IndexStatistics(msgspec.Struct, frozen=True):
    """Sizes now, and what was left out since the index was made. A block in two groups counts twice."""

    pods: int
    contexts: int
    prefixes: int
    blocks: int
    orphans: int
    refused_blocks: int
    evicted_contexts: int
    evicted_blocks: int
    other_block_size_events: int
    """Stores whose block size is not the index's: no prompt that is cut by ours can match those blocks."""


DEFAULT_LIMITS: Final = IndexLimits()


class PrefixIndex:
    """Prefixes by pod. Every public method may be overridden by itself."""

    def __init__(self, *, block_size: int, seed: int = 0, limits: IndexLimits = DEFAULT_LIMITS) -> None:
        self.block_size = block_size
        self.seed = seed & MASK_64
        self.limits = limits
        self._pods: dict[str, Holdings] = {}
        self._bits = PodBits()
        self._contexts: dict[ContextName, Context] = {}
        self._refused = self._evicted_contexts = self._evicted_blocks = self._other_block_size = 0

    # --- what events do

    def introduce(self, pod_key: str, model: str) -> None:
        """Say which model the pod serves; one that was known with another model is purged first."""
        pod = self._pods.get(pod_key)
        if pod is None or pod.model != model:
            self.purge(pod_key)
            self._add(pod_key, model)

    def store(self, pod_key: str, event: BlockStored) -> None:
        """Count one more copy of each block of `event` for the pod, and place it in its prefix."""
        pod = self._pods.get(pod_key) or self._add(pod_key)
        context = pod.base if event.lora_name is None else self._adapter(pod.model, event.lora_name)
        self._other_block_size += event.block_size != self.block_size
        if context is None:
            self._refuse(pod, len(event.block_hashes))
            return
        context.touched = True
        keys = self._keys_of(pod, event)
        copies = pod.groups.get(event.group_idx)
        if copies is None:
            copies = pod.groups[event.group_idx] = {}
        for position, block_hash in enumerate(event.block_hashes):
            held = copies.get(block_hash)
            if held is not None:
                copies[block_hash] = held + 1
            elif not pod.admit(copies, block_hash, context, self.limits):
                self._refuse(pod, 1)
                continue
            if keys is not None and pod.keys.get(block_hash) != keys[position]:
                pod.place(block_hash, keys[position])
                if pod.children:
                    pod.adopt(block_hash, keys[position])
        if keys is None:
            _let_wait(pod, copies, event)
        if not copies:
            del pod.groups[event.group_idx]

    def remove(self, pod_key: str, event: BlockRemoved) -> None:
        """Count one copy less of each block for this pod only; the last copy takes the entry with it."""
        pod = self._pods.get(pod_key)
        copies = pod.groups.get(event.group_idx) if pod else None
        if pod is None or copies is None:
            return
        for block_hash in event.block_hashes:
            held = copies.get(block_hash)
            if held == 1:
                pod.drop_copy(copies, block_hash)
            elif held is not None:
                copies[block_hash] = held - 1
        if not copies:
            del pod.groups[event.group_idx]

    def clear(self, pod_key: str) -> None:
        """The pod holds nothing any more, but is still known."""
        pod = self._pods.get(pod_key)
        model = pod.model if pod else ""
        self.purge(pod_key)
        self._add(pod_key, model)

    def purge(self, pod_key: str) -> None:
        """Forget the pod."""
        pod = self._pods.pop(pod_key, None)
        if pod is not None:
            pod.leave()
            self._bits.leave(pod_key)
            self._drop_unused_contexts()

    def evict_idle(self, now_s: float, idle_s: float) -> int:
        """Empty the contexts that neither an event nor a match has used for `idle_s`; blocks evicted.

        Idleness is seen at the first call after the last use, so a context may stay for one more interval of
        calls, and never goes early. The pods that lose blocks lack them from then on.
        """
        before = self._evicted_blocks
        for context in self._contexts.values():
            if context.touched:
                context.touched = False
                context.idle_since_s = now_s
            elif now_s - context.idle_since_s >= idle_s:
                self._evict(context)
        self._drop_unused_contexts()
        return self._evicted_blocks - before

    def routed(
        self,
        pod_key: str,
        token_ids: Sequence[int],
        lora_name: str | None = None,
        *,
        model: str,
        now_s: float,
    ) -> None:
        """Nothing: the engine's own event will say so.

        An entry that no event stands behind would make a dead event stream look alive.
        """

    # --- what can be asked

    def match(
        self, token_ids: Sequence[int], lora_name: str | None = None, *, model: str = ""
    ) -> dict[str, int]:
        """Pod -> blocks (at least 1) of the longest contiguous prefix of `token_ids` that the pod holds."""
        context = self._contexts.get((model, lora_name))
        if context is None:
            return {}
        context.touched = True
        return longest_prefixes(context.holders, self._bits, token_ids, self.block_size, self.seed)

    def entries(self, pod_key: str) -> tuple[IndexEntry, ...]:
        """Everything the pod is believed to hold, in no particular order; empty for an unknown pod."""
        pod = self._pods.get(pod_key)
        if pod is None:
            return ()
        return tuple(
            IndexEntry(group, block_hash, count, pod.keys.get(block_hash))
            for group, copies in pod.groups.items()
            for block_hash, count in copies.items()
        )

    def lacks(self, pod_key: str) -> bool:
        """Whether blocks of the pod were left out, by a limit or an eviction, since it was last emptied."""
        pod = self._pods.get(pod_key)
        return pod is not None and pod.lacks

    def pods(self) -> tuple[str, ...]:
        """The pods that were introduced or have said something since they were last purged."""
        return tuple(self._pods)

    def sizes(self) -> dict[str, int]:
        """Pod -> number of its entries (a hash in two groups counts twice, copies do not count)."""
        return {pod_key: pod.blocks for pod_key, pod in self._pods.items()}

    def statistics(self) -> IndexStatistics:
        """Sizes and what was left out."""
        return IndexStatistics(
            pods=len(self._pods),
            contexts=len(self._contexts),
            prefixes=sum(len(context.holders) for context in self._contexts.values()),
            blocks=sum(pod.blocks for pod in self._pods.values()),
            orphans=sum(len(pod.orphans) for pod in self._pods.values()),
            refused_blocks=self._refused,
            evicted_contexts=self._evicted_contexts,
            evicted_blocks=self._evicted_blocks,
            other_block_size_events=self._other_block_size,
        )

    # --- what only the index decides

    def _add(self, pod_key: str, model: str = "") -> Holdings:
        base = self._contexts.setdefault((model, None), Context())
        pod = self._pods[pod_key] = Holdings(model, base, self._bits.take(pod_key), self.seed)
        return pod

    def _adapter(self, model: str, lora_name: str) -> Context | None:
        """The adapter's context, or None where there may be no more of them."""
        name = model, lora_name
        context = self._contexts.get(name)
        if context is None and len(self._contexts) >= self.limits.contexts_max:
            self._drop_unused_contexts()
        if context is None and len(self._contexts) < self.limits.contexts_max:
            context = self._contexts[name] = Context()
        return context

    def _drop_unused_contexts(self) -> None:
        self._contexts = {
            name: context for name, context in self._contexts.items() if context.pods or context.blocks
        }

    def _evict(self, context: Context) -> None:
        evicted = 0
        for pod in self._pods.values():
            entries = pod.of_context(context)
            for copies, block_hash in entries:
                pod.drop_copy(copies, block_hash)
            pod.lacks = pod.lacks or bool(entries)
            evicted += len(entries)
        self._evicted_contexts += bool(evicted)
        self._evicted_blocks += evicted

    def _refuse(self, pod: Holdings, blocks: int) -> None:
        self._refused += blocks
        pod.lacks = True

    def _keys_of(self, pod: Holdings, event: BlockStored) -> Sequence[int] | None:
        """The prefix key of each block of `event`, chained from its parent; None where they cannot be known.

        Unknown are the blocks behind an unknown parent, and those of a masked range (fewer hashes than
        blocks of tokens): the event does not say which of the tokens are theirs.
        """
        parent = event.parent_block_hash
        parent_key = self.seed if parent is None else pod.keys.get(parent)
        if parent_key is None or not _is_whole(event):
            return None
        if len(event.block_hashes) == 1:  # all that a decoding engine publishes: worth a way of its own
            return (chain.block_key(parent_key, chain.token_bytes(event.token_ids), self.seed),)
        return chain.prefix_keys(event.token_ids, event.block_size, self.seed, parent_key)


def _is_whole(event: BlockStored) -> bool:
    return len(event.token_ids) == len(event.block_hashes) * event.block_size


def _let_wait(pod: Holdings, copies: dict[BlockHash, int], event: BlockStored) -> None:
    """Keep the blocks of an event with an unknown parent as orphans, each behind the one before it."""
    parent = event.parent_block_hash
    if parent is None or not _is_whole(event):
        return
    data = chain.token_bytes(event.token_ids)
    step = event.block_size * chain.TOKEN_BYTES
    for position, block_hash in enumerate(event.block_hashes):
        if block_hash in copies:
            pod.wait(block_hash, parent, data[position * step : (position + 1) * step])
        parent = block_hash
