"""Indexes that make one mistake each about an event that is right, or about a pod that is gone."""

import msgspec

from resync.gateway.flaws.onsets import Onset
from resync.kvsync.holdings import IndexLimits
from resync.kvsync.index import DEFAULT_LIMITS, PrefixIndex
from resync.kvsync.records import BlockRemoved, BlockStored


class Late(PrefixIndex):
    """Right until the onset."""

    def __init__(self, onset: Onset, *, block_size: int, limits: IndexLimits = DEFAULT_LIMITS) -> None:
        super().__init__(block_size=block_size, limits=limits)
        self._onset = onset


class RemovalForAllPods(Late):
    """Deletes a removed block for every pod."""

    def remove(self, pod_key: str, event: BlockRemoved) -> None:
        """Count one copy less for every pod that is known, the sender among them."""
        others = self.pods() if self._onset.has_come() else ()
        for each in {pod_key, *others}:
            super().remove(each, event)


class RemovalIgnored(Late):
    """Keeps what is removed."""

    def remove(self, pod_key: str, event: BlockRemoved) -> None:
        """Nothing, from the onset on."""
        if not self._onset.has_come():
            super().remove(pod_key, event)


class Unchained(Late):
    """Hangs every block of an event on the event's parent."""

    def store(self, pod_key: str, event: BlockStored) -> None:
        """Store the blocks of `event` one by one, each as if it were the first."""
        if not self._onset.has_come():
            super().store(pod_key, event)
            return
        size = event.block_size
        for position, block in enumerate(event.block_hashes):
            tokens = event.token_ids[position * size : (position + 1) * size]
            one = msgspec.structs.replace(event, block_hashes=(block,), token_ids=tokens)
            super().store(pod_key, one)


class SetOfHashes(Late):
    """Knows whether a block is held, not how often: the first removal of two takes it away."""

    def store(self, pod_key: str, event: BlockStored) -> None:
        """Store, and count no more than one copy."""
        super().store(pod_key, event)
        copies = self._pods[pod_key].groups.get(event.group_idx, {})
        if self._onset.has_come():
            copies.update((block, 1) for block in event.block_hashes if block in copies)


class OrphanAsRoot(PrefixIndex):
    """Takes a block whose parent is unknown for the beginning of a prompt."""

    def store(self, pod_key: str, event: BlockStored) -> None:
        """Store, without a parent where it has no key."""
        known = {entry.hash for entry in self.entries(pod_key) if entry.prefix_key is not None}
        if event.parent_block_hash not in known:
            event = msgspec.structs.replace(event, parent_block_hash=None)
        super().store(pod_key, event)


class KeptOnRestart(PrefixIndex):
    """Drops nothing when all is to go: after a restart the blocks of the old life stay."""

    def clear(self, pod_key: str) -> None:
        """Nothing."""


class KeptOnReturn(PrefixIndex):
    """Keeps the blocks of a pod that is gone, for the one that comes back under its name."""

    def purge(self, pod_key: str) -> None:
        """Nothing."""

    def clear(self, pod_key: str) -> None:
        """What a restart asks for is done."""
        known = self._pods.get(pod_key)
        super().purge(pod_key)
        self._add(pod_key, known.model if known else "")
