"""Samples as Prometheus stored them: the only thing that is ever judged."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

NAME = "__name__"

STAMP_MOVED_S = 0.002
"""So far Prometheus may move the stamp of a sample from the begin of its scrape, to have even ones."""


class Sample(NamedTuple):
    """One stored value. `ts_s` is the server's time at which the scrape began, in seconds since the epoch."""

    ts_s: float
    value: float


class Series(msgspec.Struct, frozen=True):
    """One series: its labels, `__name__` included, and its samples in time order."""

    labels: Mapping[str, str]
    samples: tuple[Sample, ...]

    @property
    def identity(self) -> frozenset[tuple[str, str]]:
        """The labels without the name: what two metrics of one thing have in common."""
        return frozenset((key, value) for key, value in self.labels.items() if key != NAME)

    def without(self, *names: str) -> frozenset[tuple[str, str]]:
        """The identity less those labels."""
        return frozenset(pair for pair in self.identity if pair[0] not in names)

    def __str__(self) -> str:
        """As PromQL writes it."""
        inner = ",".join(f'{key}="{value}"' for key, value in sorted(self.identity))
        return f"{self.labels.get(NAME, '')}{{{inner}}}"


def companion(series: Series, candidates: Iterable[Series]) -> Series | None:
    """The candidate about the same thing: equal labels, else the one with most of them among these labels."""
    among = [one for one in candidates if one.identity <= series.identity]
    return max(among, key=lambda one: len(one.identity), default=None)
