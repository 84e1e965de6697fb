"""Deliberate defects of the gateway, for tests that must see each of them found. Off unless asked for.

One table: a name and what it replaces. Nothing else in the process knows that the table exists: the gateway
is built from `resync.gateway.parts.Parts`, and a flaw is another value of one of them. `NAME[:AFTER_S]` on
the command line.

* `removal-for-all-pods`: a removal deletes the block for every pod (AIBrix before #2723).
* `unchained`: every block of one event hangs on the event's parent (AIBrix `sync_hash.go`).
* `frozen-sequence`: nothing is applied any more, while metrics, health and routing go on answering.
* `short-heartbeat`: an event connection counts as dead, and a replay as failed, before a delayed answer
  arrives.
* `silent-metrics`: events are applied, but after the first batch the applied sequence stands still.

The first three set in AFTER_S seconds after start or, without that, once the answers of all engines have
been slow (SLOW_S or more) several times in a row: while a delay is being observed and not before, so that a
run finds a system that was steady and broke.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from resync.gateway.errors import BadSettingError
from resync.gateway.metrics import SourceFamilies, SourceMetrics
from resync.gateway.parts import Admission, Parts
from resync.gateway.settings import Patience
from resync.kits.clocks import Clock
from resync.kvsync.holdings import IndexLimits
from resync.kvsync.index import DEFAULT_LIMITS, PrefixIndex
from resync.kvsync.records import BlockRemoved, BlockStored

SLOW_S = 0.04
SLOW_IN_A_ROW = 3


class Onset:
    """When a defect sets in; once it has, it stays."""

    def __init__(self, clock: Clock, after_s: float | None) -> None:
        """`after_s` seconds from now, or when every engine has become slow."""
        self._clock = clock
        self._starts_s = None if after_s is None else clock.monotonic_s() + after_s
        self._slow: dict[str, int] = {}
        self._fast: set[str] = set()

    def has_come(self) -> bool:
        """True from the onset on."""
        return self._starts_s is not None and self._clock.monotonic_s() >= self._starts_s

    def round_trip(self, pod_key: str, round_trip_s: float) -> None:
        """Count slow answers in a row; an engine that was never fast says nothing about a delay."""
        if round_trip_s < SLOW_S:
            self._fast.add(pod_key)
        slow = pod_key in self._fast and round_trip_s >= SLOW_S
        self._slow[pod_key] = self._slow.get(pod_key, 0) + 1 if slow else 0
        if self._starts_s is None and min(self._slow.values()) >= SLOW_IN_A_ROW:
            self._starts_s = self._clock.monotonic_s()


class RemovalForAllPods(PrefixIndex):
    """Deletes a removed block for every pod."""

    def __init__(self, onset: Onset, *, block_size: int, limits: IndexLimits = DEFAULT_LIMITS) -> None:
        super().__init__(block_size=block_size, limits=limits)
        self._onset = onset

    def remove(self, pod_key: str, event: BlockRemoved) -> None:
        """Count one copy less for every pod that is known, the sender among them."""
        others = self.pods() if self._onset.has_come() else ()
        for each in {pod_key, *others}:
            super().remove(each, event)


class Unchained(PrefixIndex):
    """Hangs every block of an event on the event's parent."""

    def __init__(self, onset: Onset, *, block_size: int, limits: IndexLimits = DEFAULT_LIMITS) -> None:
        super().__init__(block_size=block_size, limits=limits)
        self._onset = onset

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


class Noticing(Admission):
    """Tells an onset of the round trips; applies whatever arrives."""

    def __init__(self, onset: Onset) -> None:
        self._onset = onset

    def round_trip(self, pod_key: str, round_trip_s: float) -> None:
        """Pass it on."""
        self._onset.round_trip(pod_key, round_trip_s)


class Frozen(Noticing):
    """Stops applying for good."""

    def may_apply(self) -> bool:
        """False from the onset on."""
        return not self._onset.has_come()


class SilentMetrics(SourceMetrics):
    """Shows the first applied batch and none after it."""

    def __init__(self, families: SourceFamilies, pod_key: str) -> None:
        super().__init__(families, pod_key)
        self._shown = False

    def applied(self, sequence: int, at_wall_s: float) -> None:
        """Record the first one only."""
        if not self._shown:
            super().applied(sequence, at_wall_s)
        self._shown = True


IMPATIENT = Patience(
    heartbeat_interval_s=0.04, heartbeat_timeout_s=0.08, connect_timeout_s=0.08, replay_timeout_s=0.2
)
"""A heartbeat needs one round trip, a replay over a new connection about four: at 0 ms both are far below
these limits, at 100 ms both are above."""

Timed = Callable[[Onset], Parts]

TIMED: dict[str, Timed] = {
    "removal-for-all-pods": lambda onset: Parts(
        index=partial(RemovalForAllPods, onset), admission=partial(Noticing, onset)
    ),
    "unchained": lambda onset: Parts(index=partial(Unchained, onset), admission=partial(Noticing, onset)),
    "frozen-sequence": lambda onset: Parts(admission=partial(Frozen, onset)),
}
STANDING: dict[str, Parts] = {
    "short-heartbeat": Parts(patience=IMPATIENT),
    "silent-metrics": Parts(source_metrics=SilentMetrics),
}


def parts_for(text: str | None, clock: Clock) -> Parts:
    """The parts of a gateway with the flaw `NAME[:AFTER_S]`, or of a healthy one. Raises BadSettingError."""
    if text is None:
        return Parts()
    name, _, after = text.partition(":")
    if name in TIMED:
        return TIMED[name](Onset(clock, _seconds(name, after)))
    if name not in STANDING:
        raise BadSettingError(f"--flaw knows {', '.join([*TIMED, *STANDING])}; not {name!r}")
    if after:
        raise BadSettingError(f"--flaw {name} takes no time, {after!r} was given")
    return STANDING[name]


def _seconds(name: str, after: str) -> float | None:
    try:
        return float(after) if after else None
    except ValueError as reason:
        raise BadSettingError(f"--flaw {name}:AFTER_S wants seconds, not {after!r}") from reason
