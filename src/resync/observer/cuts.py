"""One cut as a value: per pod what is held, what is believed, and how late the belief is."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from resync.kvsync import truth as kvtruth
from resync.kvsync.index import IndexEntry
from resync.kvsync.truth import BlockKey, DivergenceKind, Held
from resync.observer.records import BlockRow, EntryRow, PodView, Truth


@dataclass(frozen=True, slots=True)
class Late:
    """How far the index is behind now: blocks changed since, wall time of the oldest pending batch."""

    blocks: int
    pending_since_s: float | None

    def age_s(self, now_s: float) -> float:
        """Age of that batch in seconds; 0 when none is pending."""
        return 0.0 if self.pending_since_s is None else max(0.0, now_s - self.pending_since_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Both sides of one pod at one cut.

    `answer` is what its engine said (None: there is no such engine now), `applied_seq` what the gateway has
    applied (None: it does not know the pod), `late` is None where lateness means nothing.
    """

    pod_key: str
    truth: Sequence[BlockRow]
    index: Sequence[EntryRow]
    answer: Truth | None = field(default=None, repr=False)
    applied_seq: int | None = None
    late: Late | None = None

    @property
    def held(self) -> Mapping[BlockKey, Held]:
        """The truth by group and hash."""
        return {(group, block): Held(copies, key) for group, block, copies, key in self.truth}

    @property
    def entries(self) -> Mapping[BlockKey, IndexEntry]:
        """The event-fed index by group and hash."""
        return {
            (group, block): IndexEntry(group, block, copies, key)
            for group, block, copies, key, _why in self.index
        }

    @property
    def blocks_compared(self) -> int:
        """Blocks that are on at least one side."""
        return len({row[:2] for row in self.truth} | {row[:2] for row in self.index})


def side(pod_key: str, truth: Truth, viewed: PodView) -> Side:
    """An index and the truth at the sequence it has applied."""
    late = Late(truth.changed_blocks, truth.oldest_pending_s)
    return Side(
        pod_key=pod_key,
        truth=truth.blocks,
        index=viewed.event_fed(),
        answer=truth,
        applied_seq=viewed.applied_seq,
        late=late,
    )


def side_of_old_life(pod_key: str, truth: Truth, viewed: PodView) -> Side:
    """An index of a life that has ended: nothing that it describes is held, so all of it is phantom."""
    return Side(
        pod_key=pod_key, truth=(), index=viewed.event_fed(), answer=truth, applied_seq=viewed.applied_seq
    )


def side_gone(pod_key: str, viewed: PodView | None) -> Side:
    """An engine whose process is gone: it holds nothing, so all that is still believed of it is phantom."""
    index = () if viewed is None else viewed.event_fed()
    applied_seq = None if viewed is None else viewed.applied_seq
    return Side(pod_key=pod_key, truth=(), index=index, applied_seq=applied_seq)


def side_unsubscribed(pod_key: str, truth: Truth) -> Side:
    """An engine that the gateway does not know: everything it holds is missing."""
    return Side(pod_key=pod_key, truth=truth.blocks, index=(), answer=truth)


def compare(sides: Iterable[Side]) -> dict[tuple[str, DivergenceKind], int]:
    """Wrong blocks by pod and kind, zeros included for every pod given."""
    sides = list(sides)
    found = kvtruth.compare(
        {one.pod_key: one.held for one in sides}, {one.pod_key: one.entries for one in sides}
    )
    counts = Counter((finding.pod_key, finding.kind) for finding in found.findings())
    return {(one.pod_key, kind): counts[one.pod_key, kind] for one in sides for kind in DivergenceKind}


def equal(truth: Truth, viewed: PodView) -> bool:
    """True when the index is exactly this truth."""
    return not any(compare([side("pod", truth, viewed)]).values())
