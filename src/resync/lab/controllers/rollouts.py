"""The sizes of a rolling update: which replica set grows or shrinks next. Pure.

kubernetes/kubernetes, pkg/controller/deployment/rolling.go. Never more than `wanted + surge` pods, never
fewer than `wanted - unavailable` available ones by our doing; the new set grows before an old one shrinks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor


@dataclass(frozen=True, slots=True)
class Share:
    """One replica set of a deployment: how many pods it asks for, and how many of them are available."""

    name: str
    replicas: int
    available: int


@dataclass(frozen=True, slots=True)
class Leeway:
    """How many pods over and under the wanted number a rolling update may have."""

    surge: int
    unavailable: int


def leeway(wanted: int, max_surge: int | str, max_unavailable: int | str) -> Leeway:
    """The two limits in pods; a percentage of surge is rounded up, of unavailable down.

    Both 0 would stand still for ever, so then one may be unavailable. Raises ValueError for other text.
    """
    surge = _pods(max_surge, wanted, up=True)
    unavailable = _pods(max_unavailable, wanted, up=False)
    return Leeway(surge, unavailable if surge or unavailable else 1)


def _pods(limit: int | str, wanted: int, *, up: bool) -> int:
    if isinstance(limit, int):
        return limit
    exact = int(limit.removesuffix("%")) * wanted / 100
    return ceil(exact) if up else floor(exact)


def next_sizes(wanted: int, new: Share, old: Sequence[Share], allowed: Leeway) -> Mapping[str, int]:
    """The sets whose size has to change now, and to what; empty when nothing may or need change.

    `old` is in order of age, the oldest first.
    """
    grown = _size_of_new(wanted, new, old, allowed)
    if grown != new.replicas:
        return {new.name: grown}
    return _sizes_of_old(wanted, new, old, allowed)


def _size_of_new(wanted: int, new: Share, old: Sequence[Share], allowed: Leeway) -> int:
    if new.replicas >= wanted:
        return wanted
    room = wanted + allowed.surge - new.replicas - sum(one.replicas for one in old)
    return new.replicas + max(0, min(room, wanted - new.replicas))


def _sizes_of_old(wanted: int, new: Share, old: Sequence[Share], allowed: Leeway) -> Mapping[str, int]:
    least = wanted - allowed.unavailable
    every = [new, *old]
    spare = sum(one.replicas for one in every) - least - (new.replicas - new.available)
    sizes = {one.name: one.replicas for one in old}
    spare -= _take(sizes, {one.name: one.replicas - one.available for one in old}, spare)
    surplus = min(spare, sum(one.available for one in every) - least)
    _take(sizes, sizes, surplus)
    return {one.name: sizes[one.name] for one in old if sizes[one.name] != one.replicas}


def _take(sizes: dict[str, int], at_most: Mapping[str, int], count: int) -> int:
    """Lower the sizes by `count` together, each by no more than its limit; by how much they were lowered."""
    left = max(count, 0)
    for name, limit in dict(at_most).items():
        taken = min(limit, left, sizes[name])
        sizes[name] -= max(taken, 0)
        left -= max(taken, 0)
    return max(count, 0) - left
