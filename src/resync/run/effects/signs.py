"""What every effect of a fault has in common: signs of it, one after the other, for every pod it is on.

A mesh that says "injected" has said that its calls returned, no more (Chaos Mesh issues 3302, 4903). So each
kind of fault names what must be seen where the fault cannot lie: outside the mesh's own counters. One look is
one `Sign`: at that moment the fault showed, or it did not. The rules are the same for all kinds: the window
that is judged begins where every pod's signs all show, ends at the last one before healing, and has no sign
to the contrary and no piece without one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from resync.run.readings import piece_length_s, pieces
from resync.run.samples import Samples, Window
from resync.run.settings import Settings


@dataclass(frozen=True, slots=True)
class Sign:
    """One look at one pod: when, whether the fault showed, and what was seen, in words."""

    at_s: float
    shows: bool
    says: str


@dataclass(frozen=True, slots=True)
class PodEffect:
    """What the fault did to one pod, in numbers by name; `doubts` says where it was not seen."""

    pod_key: str
    measured: Mapping[str, float | None]
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect on every pod the fault was on."""

    pods: tuple[PodEffect, ...]
    peer_added_ms: float | None = None
    doubts: tuple[str, ...] = field(default=())

    @property
    def proven(self) -> bool:
        """Whether the fault stood on every pod, all along."""
        return bool(self.pods) and not self.all_doubts

    @property
    def all_doubts(self) -> tuple[str, ...]:
        """Everything that speaks against it."""
        return (*self.doubts, *(d for pod in self.pods for d in pod.doubts))


class FaultEffect(Protocol):
    """How one kind of fault is told from its absence."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is sampled to look for signs."""
        ...

    def named(self, settings: Settings, pods: Sequence[str]) -> str:
        """The fault for a sentence: "under ..."."""
        ...

    def refusal(self, settings: Settings) -> tuple[str, str] | None:
        """Why these settings could never be proven, with the next step; None when they can."""
        ...

    def calm(self, samples: Samples, pod_key: str, settings: Settings) -> bool:
        """Whether the path to that pod stays as it is, so that a baseline can be taken from it."""
        ...

    def signs(self, baseline: Samples, seen: Samples, pod_key: str, settings: Settings) -> list[Sign]:
        """The signs in `seen`'s window, in order of time. Raises UnmeasuredError without a baseline."""
        ...

    def back(self, baseline: Samples, seen: Samples, pod_key: str, settings: Settings) -> float | None:
        """When that pod was first as before again in `seen`'s window."""
        ...

    def judged(self, baseline: Samples, fault: Samples, pods: Sequence[str], settings: Settings) -> Effect:
        """The effect over the window that is judged, from its raw samples."""
        ...


def doubts_of(signs: Sequence[Sign], pod_key: str, window: Window, interval_s: float) -> tuple[str, ...]:
    """What speaks against the fault having stood on that pod all along; empty when nothing does."""
    against = [s for s in signs if not s.shows]
    if against:
        return (f"{against[0].says} ({len(against)} of {len(signs)} looks at {pod_key})",)
    parts = pieces(window, piece_length_s(interval_s))
    blind = [(a, b) for a, b in parts if not any(a <= s.at_s <= b for s in signs)]
    return tuple(
        f"{pod_key}: nothing was seen of the fault between {a:.3f} and {b:.3f}" for a, b in blind[:1]
    )
