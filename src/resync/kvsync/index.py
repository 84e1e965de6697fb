"""The prefix index: which pod holds which prefix, fed by nothing but KV events.

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

Layout, per pod: copies by group and hash, and what is known of each hash once, shared by its groups (a hash
means the same tokens in every group). Beside it one table, key -> pods, makes matching independent of how
many pods hold other prefixes. LoRA adapters have tables of their own: the same tokens under another adapter
are another prefix.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from resync.kvsync import chain
from resync.kvsync.records import BlockHash, BlockRemoved, BlockStored

EVENT_PROVENANCE: Final = "event"


class IndexEntry(msgspec.Struct, frozen=True, gc=False):
    """One block as the index sees it; `prefix_key` is None while its prefix is unknown (it cannot match)."""

    group: int
    hash: BlockHash
    copies: int
    prefix_key: int | None
    provenance: str = EVENT_PROVENANCE


class _Block:
    """What is known of one hash on one pod. `waiting` holds the parent and tokens of an orphan."""

    __slots__ = ("copies", "key", "lora_name", "waiting")

    def __init__(self, lora_name: str | None) -> None:
        self.copies = 0
        self.key: int | None = None
        self.lora_name = lora_name
        self.waiting: tuple[BlockHash, tuple[int, ...]] | None = None


class _Pod:
    """One pod's part: copies per group, blocks by hash, orphans by the parent they wait for."""

    __slots__ = ("blocks", "groups", "orphans")

    def __init__(self) -> None:
        self.groups: dict[int, dict[BlockHash, int]] = {}
        self.blocks: dict[BlockHash, _Block] = {}
        self.orphans: dict[BlockHash, set[BlockHash]] = {}


class PrefixIndex:
    """Prefixes by pod. Every public method may be overridden by itself."""

    def __init__(self, *, block_size: int, seed: int = 0) -> None:
        self.block_size = block_size
        self.seed = seed
        self._pods: dict[str, _Pod] = {}
        # LoRA name -> prefix key -> pod -> how many hashes of the pod have that key (two salts share tokens).
        self._holders: dict[str | None, dict[int, dict[str, int]]] = {}

    # --- what events do

    def store(self, pod_key: str, event: BlockStored) -> None:
        """Count one more copy of each block of `event` for the pod, and place it in its prefix."""
        keys = self.keys_of(pod_key, event)
        pod = self._pods.setdefault(pod_key, _Pod())
        copies = pod.groups.setdefault(event.group_idx, {})
        parent = event.parent_block_hash
        for position, (block_hash, key) in enumerate(zip(event.block_hashes, keys, strict=True)):
            copies[block_hash] = copies.get(block_hash, 0) + 1
            block = pod.blocks.get(block_hash)
            if block is None:
                block = pod.blocks[block_hash] = _Block(event.lora_name)
            block.copies += 1
            if key is not None:
                self._place(pod_key, pod, block_hash, key)
            elif block.key is None and block.waiting is None and parent is not None and _is_whole(event):
                start = position * event.block_size
                self._orphan(pod, block_hash, parent, event.token_ids[start : start + event.block_size])
            parent = block_hash

    def keys_of(self, pod_key: str, event: BlockStored) -> tuple[int | None, ...]:
        """The prefix key of each block of `event`, chained from its parent; None where it cannot be known.

        Unknown are the blocks behind an unknown parent, and those of a masked range (fewer hashes than
        blocks of tokens): the event does not say which of the tokens are theirs.
        """
        parent_key = self.parent_key(pod_key, event)
        if parent_key is None or not _is_whole(event):
            return (None,) * len(event.block_hashes)
        return chain.prefix_keys(event.token_ids, event.block_size, parent_key)

    def parent_key(self, pod_key: str, event: BlockStored) -> int | None:
        """The key that the first block of `event` hangs on.

        The seed for a root, None for an unknown parent.
        """
        if event.parent_block_hash is None:
            return self.seed
        pod = self._pods.get(pod_key)
        parent = pod.blocks.get(event.parent_block_hash) if pod else None
        return parent.key if parent else None

    def remove(self, pod_key: str, event: BlockRemoved) -> None:
        """Count one copy less of each block for this pod only; the last copy takes the entry with it."""
        pod = self._pods.get(pod_key)
        copies = pod.groups.get(event.group_idx) if pod else None
        if pod is None or copies is None:
            return
        for block_hash in event.block_hashes:
            held = copies.get(block_hash)
            if held is None:
                continue
            if held == 1:
                del copies[block_hash]
            else:
                copies[block_hash] = held - 1
            self._drop_copy(pod_key, pod, block_hash)

    def clear(self, pod_key: str) -> None:
        """The pod holds nothing any more, but is still known."""
        self.purge(pod_key)
        self._pods[pod_key] = _Pod()

    def purge(self, pod_key: str) -> None:
        """Forget the pod."""
        pod = self._pods.pop(pod_key, None)
        if pod is None:
            return
        for block in pod.blocks.values():
            if block.key is not None:
                self._unlist(pod_key, block.lora_name, block.key)

    # --- what can be asked

    def match(self, token_ids: Sequence[int], lora_name: str | None = None) -> dict[str, int]:
        """Pod -> blocks (at least 1) of the longest contiguous prefix of `token_ids` that the pod holds."""
        holders = self._holders.get(lora_name)
        if not holders:
            return {}
        matched: dict[str, int] = {}
        alive: set[str] | None = None
        key = self.seed
        for depth, start in enumerate(
            range(0, len(token_ids) - self.block_size + 1, self.block_size), start=1
        ):
            key = chain.prefix_key(key, token_ids[start : start + self.block_size])
            here = holders.get(key)
            if not here:
                break
            alive = set(here) if alive is None else {pod for pod in alive if pod in here}
            if not alive:
                break
            matched.update(dict.fromkeys(alive, depth))
        return matched

    def entries(self, pod_key: str) -> tuple[IndexEntry, ...]:
        """Everything the pod is believed to hold, in no particular order; empty for an unknown pod."""
        pod = self._pods.get(pod_key)
        if pod is None:
            return ()
        return tuple(
            IndexEntry(group, block_hash, count, pod.blocks[block_hash].key)
            for group, copies in pod.groups.items()
            for block_hash, count in copies.items()
        )

    def pods(self) -> tuple[str, ...]:
        """The pods that have said something since they were last purged."""
        return tuple(self._pods)

    def sizes(self) -> dict[str, int]:
        """Pod -> number of its entries (a hash in two groups counts twice, copies do not count)."""
        return {pod_key: sum(map(len, pod.groups.values())) for pod_key, pod in self._pods.items()}

    # --- placing blocks in prefixes

    def _place(self, pod_key: str, pod: _Pod, block_hash: BlockHash, key: int) -> None:
        """Give the block its key, correcting an earlier one, and adopt the orphans that waited for it."""
        todo = [(block_hash, key)]
        while todo:
            current, current_key = todo.pop()
            block = pod.blocks[current]
            if block.key == current_key:
                continue
            if block.key is not None:
                self._unlist(pod_key, block.lora_name, block.key)
            self._no_longer_waiting(pod, current, block)
            block.key = current_key
            self._list(pod_key, block.lora_name, current_key)
            todo.extend(_adopted(pod, current, current_key))

    def _orphan(self, pod: _Pod, block_hash: BlockHash, parent: BlockHash, tokens: tuple[int, ...]) -> None:
        pod.blocks[block_hash].waiting = (parent, tokens)
        pod.orphans.setdefault(parent, set()).add(block_hash)

    def _no_longer_waiting(self, pod: _Pod, block_hash: BlockHash, block: _Block) -> None:
        if block.waiting is None:
            return
        siblings = pod.orphans[block.waiting[0]]
        siblings.discard(block_hash)
        if not siblings:
            del pod.orphans[block.waiting[0]]
        block.waiting = None

    def _drop_copy(self, pod_key: str, pod: _Pod, block_hash: BlockHash) -> None:
        block = pod.blocks[block_hash]
        block.copies -= 1
        if block.copies:
            return
        del pod.blocks[block_hash]
        self._no_longer_waiting(pod, block_hash, block)
        if block.key is not None:
            self._unlist(pod_key, block.lora_name, block.key)

    def _list(self, pod_key: str, lora_name: str | None, key: int) -> None:
        here = self._holders.setdefault(lora_name, {}).setdefault(key, {})
        here[pod_key] = here.get(pod_key, 0) + 1

    def _unlist(self, pod_key: str, lora_name: str | None, key: int) -> None:
        table = self._holders[lora_name]
        here = table[key]
        if here[pod_key] > 1:
            here[pod_key] -= 1
            return
        del here[pod_key]
        if not here:
            del table[key]
            if not table:
                del self._holders[lora_name]


def _is_whole(event: BlockStored) -> bool:
    return len(event.token_ids) == len(event.block_hashes) * event.block_size


def _adopted(pod: _Pod, parent: BlockHash, parent_key: int) -> list[tuple[BlockHash, int]]:
    children = []
    for child in pod.orphans.get(parent, ()):
        waiting = pod.blocks[child].waiting
        if waiting is not None:
            children.append((child, chain.prefix_key(parent_key, waiting[1])))
    return children
