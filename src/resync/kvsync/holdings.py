"""What one pod is believed to hold: copies by group and hash, and which prefix each hash is.

A hash means the same tokens in every group, so its prefix key is kept once. A context is one model with one
LoRA adapter (the same tokens under another adapter are another prefix); its table says which pods hold a key,
one bit per pod. A pod's blocks are in the context of its model alone, its `base`, but for those that
`_adapted` names.
"""

from typing import NamedTuple

import msgspec

from resync.kvsync import chain
from resync.kvsync.records import BlockHash


class Context:
    """Prefix key -> bits of the pods that hold it; and whether anything has used it of late.

    `blocks` counts the entries of all pods that are in it, `pods` those whose base it is.
    """

    __slots__ = ("blocks", "holders", "idle_since_s", "pods", "touched")

    def __init__(self) -> None:
        self.holders: dict[int, int] = {}
        self.touched = True
        self.idle_since_s = 0.0
        self.blocks = 0
        self.pods = 0


class IndexLimits(msgspec.Struct, frozen=True):
    """What the index refuses to grow beyond; a block in two groups counts twice.

    AIBrix bounds the prefixes of a context (`AIBRIX_SYNC_MAX_PREFIXES_PER_CONTEXT`), for its router's guesses
    only and at 10,000, which is one prompt of 160,000 tokens. Here the blocks of a context are bounded, of
    which each prefix has at least one, and those of a pod, so that one engine cannot crowd out the others.
    Above `contexts_max` no adapter gets a context of its own; models always do, for they are as many as the
    fleet has.
    """

    contexts_max: int = 1000
    blocks_per_context_max: int = 4_000_000
    blocks_per_pod_max: int = 1_000_000


class _Orphan(NamedTuple):
    """What a block whose parent is unknown waits with."""

    parent: BlockHash
    block: bytes


class Holdings:
    """One pod's part of the index. A hash in `groups` but not in `keys` is held and cannot match.

    `orphans` are those whose parent is unknown, `children` says by parent which they are.
    """

    __slots__ = (
        "_adapted",
        "_twins",
        "base",
        "bit",
        "blocks",
        "children",
        "groups",
        "keys",
        "lacks",
        "model",
        "orphans",
        "seed",
    )

    def __init__(self, model: str, base: Context, bit: int, seed: int) -> None:
        self.model = model
        self.base = base
        self.bit = bit
        self.seed = seed
        self.groups: dict[int, dict[BlockHash, int]] = {}
        self.keys: dict[BlockHash, int] = {}
        self.orphans: dict[BlockHash, _Orphan] = {}
        self.blocks = 0
        self.lacks = False
        self._adapted: dict[BlockHash, Context] = {}
        self.children: dict[BlockHash, set[BlockHash]] = {}
        # Hashes beyond the first that have one key: a salted prompt has the tokens of an unsalted one.
        self._twins: dict[tuple[Context, int], int] = {}
        base.pods += 1

    # --- copies

    def admit(
        self, copies: dict[BlockHash, int], block_hash: BlockHash, context: Context, limits: IndexLimits
    ) -> bool:
        """Enter a block that the group did not hold, unless the pod or the context is full; whether it was.

        A hash that another group holds stays in the context that it is in.
        """
        if self._adapted or context is not self.base:
            context = self._settled(block_hash, context)
        if self.blocks >= limits.blocks_per_pod_max or context.blocks >= limits.blocks_per_context_max:
            return False
        copies[block_hash] = 1
        self.blocks += 1
        context.blocks += 1
        if context is not self.base:
            self._adapted[block_hash] = context
        return True

    def drop_copy(self, copies: dict[BlockHash, int], block_hash: BlockHash) -> None:
        """Take the group's last copy; what is known of the hash goes with the last group's."""
        del copies[block_hash]
        self.blocks -= 1
        context = self._context_of(block_hash)
        context.blocks -= 1
        if len(self.groups) == 1 or not self._holds(block_hash):
            self._forget(block_hash, context)

    def of_context(self, context: Context) -> list[tuple[dict[BlockHash, int], BlockHash]]:
        """The entries that are in that context, each with the copies of its group."""
        return [
            (copies, block_hash)
            for copies in self.groups.values()
            for block_hash in copies
            if self._context_of(block_hash) is context
        ]

    def leave(self) -> None:
        """Take every bit of the pod out of the tables; the holdings are of no use afterwards."""
        for block_hash, key in self.keys.items():
            holders = self._context_of(block_hash).holders
            rest = holders.get(key, 0) & ~self.bit
            if rest:
                holders[key] = rest
            else:
                holders.pop(key, None)
        for copies in self.groups.values():
            for block_hash in copies:
                self._context_of(block_hash).blocks -= 1
        self.base.pods -= 1

    # --- prefixes

    def place(self, block_hash: BlockHash, key: int) -> None:
        """Give the block its key, correcting an earlier one."""
        context = self._adapted.get(block_hash, self.base)
        known = self.keys.get(block_hash)
        if known is not None:
            self._unlist(context, known)
        elif self.orphans:
            self._no_longer_waiting(block_hash)
        self.keys[block_hash] = key
        mask = context.holders.get(key, 0)
        if mask & self.bit:
            self._twins[context, key] = self._twins.get((context, key), 0) + 1
        else:
            context.holders[key] = mask | self.bit

    def adopt(self, parent: BlockHash, parent_key: int) -> None:
        """Place the orphans that waited for that parent, and those that waited for them."""
        todo = [(parent, parent_key)]
        while todo:
            current, current_key = todo.pop()
            for child in tuple(self.children.get(current, ())):
                key = chain.block_key(current_key, self.orphans[child].block, self.seed)
                self.place(child, key)
                todo.append((child, key))

    def wait(self, block_hash: BlockHash, parent: BlockHash, block: bytes) -> None:
        """Keep what the block's key will be computed from; the first thing said of a block stands."""
        if block_hash not in self.keys and block_hash not in self.orphans:
            self.orphans[block_hash] = _Orphan(parent, block)
            self.children.setdefault(parent, set()).add(block_hash)

    def _context_of(self, block_hash: BlockHash) -> Context:
        return self._adapted.get(block_hash, self.base)

    def _settled(self, block_hash: BlockHash, otherwise: Context) -> Context:
        return self._context_of(block_hash) if self._holds(block_hash) else otherwise

    def _holds(self, block_hash: BlockHash) -> bool:
        return any(block_hash in copies for copies in self.groups.values())

    def _no_longer_waiting(self, block_hash: BlockHash) -> None:
        orphan = self.orphans.pop(block_hash, None)
        if orphan is None:
            return
        siblings = self.children[orphan.parent]
        siblings.discard(block_hash)
        if not siblings:
            del self.children[orphan.parent]

    def _forget(self, block_hash: BlockHash, context: Context) -> None:
        key = self.keys.pop(block_hash, None)
        if key is not None:
            self._unlist(context, key)
        else:
            self._no_longer_waiting(block_hash)
        self._adapted.pop(block_hash, None)

    def _unlist(self, context: Context, key: int) -> None:
        twin = context, key
        if twin in self._twins:
            self._twins[twin] -= 1
            if not self._twins[twin]:
                del self._twins[twin]
            return
        rest = context.holders[key] & ~self.bit
        if rest:
            context.holders[key] = rest
        else:
            del context.holders[key]
