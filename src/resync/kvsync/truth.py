"""What engines hold against what the index believes.

Both sides must be of one cut: the truth as of the sequence that the index has applied. Then every
difference is wrong, none is merely late. There are four kinds, and the order in which they are found
matters: a block that the index has for the wrong pod is *misattributed* once, not phantom on one pod and
missing on another.

Truth is what the engines' block pools say, or, where only a stream is at hand, its `fold`
(`resync.kvsync.folding`). Neither shares code with the index.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, TypeAlias

import msgspec

from resync.kvsync.folding import BlockKey, Held, fold
from resync.kvsync.records import BlockHash

__all__ = [
    "Believed",
    "BlockKey",
    "Divergence",
    "DivergenceKind",
    "Finding",
    "Held",
    "Truth",
    "View",
    "compare",
    "fold",
]


class DivergenceKind(StrEnum):
    """How the index can be wrong about a block; the values are label values."""

    MISSING = "missing"
    PHANTOM = "phantom"
    MISATTRIBUTED = "misattributed"
    MIS_HASHED = "mis-hashed"


class Finding(msgspec.Struct, frozen=True):
    """One wrong block. `pod_key` is the pod whose entry is wrong or lacking.

    `other_pod` the one that really holds it.
    """

    kind: DivergenceKind
    pod_key: str
    group: int
    hash: BlockHash
    other_pod: str | None = None


class Divergence(msgspec.Struct, frozen=True):
    """All findings of one cut, by kind; `audited` is how many blocks were compared."""

    missing: tuple[Finding, ...] = ()
    phantom: tuple[Finding, ...] = ()
    misattributed: tuple[Finding, ...] = ()
    mis_hashed: tuple[Finding, ...] = ()
    audited: int = 0

    def of(self, kind: DivergenceKind) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return {
            DivergenceKind.MISSING: self.missing,
            DivergenceKind.PHANTOM: self.phantom,
            DivergenceKind.MISATTRIBUTED: self.misattributed,
            DivergenceKind.MIS_HASHED: self.mis_hashed,
        }[kind]

    def findings(self) -> tuple[Finding, ...]:
        """All of them, in the order of the kinds."""
        return tuple(finding for kind in DivergenceKind for finding in self.of(kind))

    def count(self, kind: DivergenceKind, pod_key: str | None = None) -> int:
        """How many blocks are wrong in that way, of one pod or of all."""
        return sum(pod_key in {None, finding.pod_key} for finding in self.of(kind))

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.missing or self.phantom or self.misattributed or self.mis_hashed)


class Believed(Protocol):
    """What a comparison needs to know of an index entry."""

    @property
    def prefix_key(self) -> int | None:
        """Which prefix the index takes the block for; None where it does not know."""


Truth: TypeAlias = Mapping[str, Mapping[BlockKey, Held]]
View: TypeAlias = Mapping[str, Mapping[BlockKey, Believed]]


def compare(truth: Truth, index: View) -> Divergence:
    """The divergence of `index` from `truth`, both by pod key, then (group, hash), at one cut.

    Number of copies is not a kind of its own: it shows as missing or phantom when it begins to matter. A
    block that is held and whose prefix the index does not know is missing: nobody can match it.
    """
    nothing: Mapping[BlockKey, Held] = {}
    no_entry: Mapping[BlockKey, Believed] = {}
    pods = sorted({*truth, *index})
    missing: dict[BlockKey, list[str]] = {}
    phantom: list[tuple[str, BlockKey]] = []
    mis_hashed: list[Finding] = []
    audited = 0
    for pod in pods:
        held, entries = truth.get(pod, nothing), index.get(pod, no_entry)
        audited += len(held.keys() | entries.keys())
        phantom.extend((pod, key) for key in sorted(entries.keys() - held.keys()))
        known = {key for key in held.keys() & entries.keys() if _is_known(entries[key], held[key])}
        for key in sorted(held.keys() - known):
            missing.setdefault(key, []).append(pod)
        mis_hashed.extend(
            Finding(DivergenceKind.MIS_HASHED, pod, *key)
            for key in sorted(known)
            if entries[key].prefix_key != held[key].prefix_key
        )
    strays = _pair_up(phantom, missing)
    return Divergence(
        missing=tuple(
            Finding(DivergenceKind.MISSING, pod, *key) for key, lacking in missing.items() for pod in lacking
        ),
        phantom=tuple(Finding(DivergenceKind.PHANTOM, pod, *key) for pod, key in phantom),
        misattributed=strays,
        mis_hashed=tuple(mis_hashed),
        audited=audited,
    )


def _is_known(entry: Believed, held: Held) -> bool:
    return entry.prefix_key is not None or held.prefix_key is None


def _pair_up(phantom: list[tuple[str, BlockKey]], missing: dict[BlockKey, list[str]]) -> tuple[Finding, ...]:
    """Take out of both the pairs that are one misattributed block, and return those."""
    strays: list[Finding] = []
    left: list[tuple[str, BlockKey]] = []
    for pod, key in phantom:
        if missing.get(key):
            strays.append(Finding(DivergenceKind.MISATTRIBUTED, pod, *key, missing[key].pop(0)))
        else:
            left.append((pod, key))
    phantom[:] = left
    return tuple(strays)
