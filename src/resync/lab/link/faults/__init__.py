"""One small file per fault kind. To add one, add a file here; nothing else changes.

A module offers `read(rule) -> Fault | None` (None: not mine) and may raise ValueError for settings that
make no sense. A `Fault` is what a rule means; `begin` gives the `Effect` it has on one stream, with its own
dice. Two promises bind every effect: it never loses bytes, and it never waits; it only says when a chunk
may leave. A fault that lets no packet through says so by being a `Cut`.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from random import Random
from types import ModuleType
from typing import Protocol, runtime_checkable

from resync.lab.link.chunks import Chunk
from resync.lab.link.errors import UnsupportedFaultError
from resync.lab.link.rules import Rule


class Effect(Protocol):
    """A fault at work on one directed stream."""

    def apply(self, chunk: Chunk) -> Chunk:
        """The chunk as it goes on: later, altered, or held (`release_s` infinite)."""
        ...

    def lift(self, chunk: Chunk, now_s: float) -> float:
        """When a chunk that waits leaves, now that this fault is gone: its own time or an earlier one."""
        ...


class Fault(Protocol):
    """What a rule means, before it meets a stream."""

    def begin(self, dice: Random) -> Effect:
        """The effect on one stream; all its randomness comes from `dice`."""
        ...


@runtime_checkable
class Cut(Fault, Protocol):
    """A fault through which not even a SYN gets; `resets`: it tells both ends of what it cuts."""

    @property
    def resets(self) -> bool:
        """Whether connections are reset when it begins."""
        ...

    def unacknowledged(self) -> Fault:
        """What it does to the other direction, whose acknowledgements it takes."""
        ...


def cuts(faults: Iterable[Fault]) -> tuple[Cut, ...]:
    """Those that let nothing through."""
    return tuple(fault for fault in faults if isinstance(fault, Cut))


def faults_of(rule: Rule) -> tuple[Fault, ...]:
    """Every fault the rule asks for.

    Raises UnsupportedFaultError when a setting of it belongs to no fault here.
    """
    modules = _modules()
    read = tuple(fault for module in modules if (fault := module.read(rule)) is not None)
    known = frozenset[str]().union(*(module.SETTINGS.get(rule.kind, frozenset()) for module in modules))
    strange = sorted(set(rule.settings) - known)
    if not read or strange:
        raise UnsupportedFaultError(
            f"the lab's link cannot do {rule.kind} {', '.join(strange) or 'without settings'} yet;"
            f" it knows {', '.join(sorted(known)) or 'nothing'} of {rule.kind}"
        )
    return read


@cache
def _modules() -> tuple[ModuleType, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)
