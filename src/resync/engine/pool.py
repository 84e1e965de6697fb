"""The block pool: which slot holds which block, who uses it, which is reused next. Pure.

It follows vLLM's `BlockPool` and `KVCacheManager` (vllm/v1/core) where a gateway can tell the difference:

* A slot whose block is full is *cached*: found by later requests, whether or not somebody uses it now.
* A slot nobody uses is *free*, and still cached. Free slots are reused least recently freed first; a
  request's slots are freed last block first, so a prefix outlives its tail.
* Reusing a cached slot evicts its block: one removal, of that one copy.
* Copies are not merged. Two requests that compute the same block at the same time, or a fully cached prompt
  that recomputes its last block, leave two slots with one hash, each stored and later removed by itself (vLLM
  PR #55092, #48933).

Happenings are kept in the order they happened until somebody takes them (`take_happenings`): they become
events. The journal is written at the same spots, and is what truth is read from.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resync.engine.errors import PoolExhaustedError
from resync.engine.hashing import FullBlock
from resync.engine.journal import Journal


@dataclass(frozen=True, slots=True)
class Stored:
    """Consecutive blocks of one prefix became held, one new copy each."""

    blocks: tuple[FullBlock, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """One copy of one block was evicted."""

    block: FullBlock


@dataclass(frozen=True, slots=True)
class Cleared:
    """Every block was dropped at once."""


Happening = Stored | Removed | Cleared

HAPPENINGS_MAX = 100_000
"""Untaken happenings kept (no limit in vLLM). Every step takes them, so only a bug reaches this."""


class BlockPool:
    """`slots_total` slots of `block_size` tokens, prefix reuse, LRU eviction of free slots."""

    def __init__(self, *, slots_total: int, block_size: int, journal: Journal | None = None) -> None:
        if slots_total < 1 or block_size < 1:
            raise ValueError(f"a pool needs slots and tokens per block, not {slots_total} and {block_size}")
        self.slots_total = slots_total
        self.block_size = block_size
        self.journal = Journal() if journal is None else journal
        self._users = [0] * slots_total
        self._content: list[FullBlock | None] = [None] * slots_total
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(slots_total))
        self._cached: dict[bytes, dict[int, None]] = {}
        self._held: Counter[FullBlock] = Counter()
        self._happenings: deque[Happening] = deque()

    @property
    def slots_free(self) -> int:
        """Slots no request uses, cached or empty."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """Share of slots in use by requests, 0 to 1 (vLLM's `kv_cache_usage_perc`)."""
        return 1 - len(self._free) / self.slots_total

    def held(self) -> Counter[FullBlock]:
        """Copies of every block held now. The pool's own counter: read it, do not write it."""
        return self._held

    def by_reuse(self) -> list[FullBlock | None]:
        """What every slot holds, the one to be reused first in front, those in use last."""
        used = (slot for slot, users in enumerate(self._users) if users)
        return [self._content[slot] for slot in (*self._free, *used)]

    def restore(self, contents: Sequence[FullBlock | None]) -> None:
        """Fill free slots in this order of reuse; of more than there are slots, with the last ones.

        Only an empty pool can be restored. The blocks happen as stores, parents first.
        """
        assert not self._held, "only an empty pool is restored"
        kept = contents[-self.slots_total :]
        for slot, block in zip(list(self._free), kept, strict=False):
            if block is not None:
                self._put(slot, block)
            self._free.move_to_end(slot)
        for block in _parents_first([block for block in kept if block is not None]):
            self._happened(Stored((block,)))

    def match(self, chain: Sequence[FullBlock]) -> int:
        """How many leading blocks of `chain` are held now. Changes nothing, the LRU order included."""
        for length, block in enumerate(chain):
            if block.digest not in self._cached:
                return length
        return len(chain)

    def acquire(self, chain: Sequence[FullBlock], *, reuse: int, fresh: int) -> list[int]:
        """Slots for one request: the first `reuse` blocks of `chain`, all held, then `fresh` empty ones.

        Reused slots are protected before fresh ones are taken, so a request never evicts its own prefix.
        Raises PoolExhaustedError, with nothing changed, when too few slots are free.
        """
        reused = [next(iter(self._cached[block.digest])) for block in chain[:reuse]]
        idle = sum(slot in self._free for slot in reused)
        if fresh > len(self._free) - idle:
            raise PoolExhaustedError(f"{fresh} slots wanted, {len(self._free) - idle} free")
        for slot in reused:
            self._use(slot)
        return reused + [self._take_oldest() for _ in range(fresh)]

    def fill(self, slots: Sequence[int], blocks: Sequence[FullBlock]) -> None:
        """Slots of one request become full: consecutive blocks of its prefix, cached from now on."""
        if not blocks:
            return
        for slot, block in zip(slots, blocks, strict=True):
            assert self._users[slot], "only a slot in use is filled"
            assert self._content[slot] is None, "a full slot is not filled again"
            self._put(slot, block)
        self._happened(Stored(tuple(blocks)))

    def release(self, slots: Sequence[int]) -> None:
        """One request stops using its slots, given in prefix order; the last is the first to be reused."""
        for slot in reversed(slots):
            assert self._users[slot], "a slot is released once per use"
            self._users[slot] -= 1
            if not self._users[slot]:
                self._free[slot] = None

    def clear(self) -> bool:
        """Drop every block; False and no change while a request uses one (vLLM `reset_prefix_cache`)."""
        if len(self._free) < self.slots_total:
            return False
        for slot in range(self.slots_total):
            self._forget(slot)
        self._happened(Cleared())
        return True

    def take_happenings(self) -> list[Happening]:
        """What happened since the last call, in order."""
        taken = list(self._happenings)
        self._happenings.clear()
        return taken

    def _put(self, slot: int, block: FullBlock) -> None:
        self._content[slot] = block
        self._cached.setdefault(block.digest, {})[slot] = None
        self._held[block] += 1
        self.journal.stored(block)

    def _use(self, slot: int) -> None:
        self._free.pop(slot, None)
        self._users[slot] += 1

    def _take_oldest(self) -> int:
        slot, _ = self._free.popitem(last=False)
        evicted = self._forget(slot)
        if evicted is not None:
            self._happened(Removed(evicted))
        self._users[slot] = 1
        return slot

    def _forget(self, slot: int) -> FullBlock | None:
        block = self._content[slot]
        if block is None:
            return None
        self._content[slot] = None
        copies = self._cached[block.digest]
        del copies[slot]
        if not copies:
            del self._cached[block.digest]
        self._held[block] -= 1
        if not self._held[block]:
            del self._held[block]
        self.journal.removed(block)
        return block

    def _happened(self, happening: Happening) -> None:
        assert len(self._happenings) < HAPPENINGS_MAX, "nobody takes the pool's happenings"
        self._happenings.append(happening)


def _parents_first(blocks: Iterable[FullBlock]) -> list[FullBlock]:
    """The blocks, none before its parent; one whose parent is not among them counts as a root."""
    children: dict[int | None, list[FullBlock]] = {}
    here = {block.hash for block in blocks}
    for block in blocks:
        children.setdefault(block.parent_hash if block.parent_hash in here else None, []).append(block)
    ordered = children.pop(None, [])
    for block in ordered:  # grows while it is walked: a block's children follow once it is reached
        ordered += children.pop(block.hash, [])
    return ordered
