"""Deliberate defects of the gateway, for tests that must see each of them found. Off unless asked for.

One table: a name and what it replaces. Nothing else in the process knows that the table exists: the gateway
is built from `resync.gateway.parts.Parts`, and a flaw is another value of one of them. `NAME[:AFTER_S]` on
the command line.

* `removal-for-all-pods`: a removal deletes the block for every pod (AIBrix before #2723).
* `unchained`: every block of one event hangs on the event's parent (AIBrix `sync_hash.go`).
* `frozen-sequence`: nothing is applied any more, while metrics, health and routing go on answering. It sets
  in AFTER_S seconds after start or, without that, when an engine's round trip has been SLOW_S or more three
  times in a row: that is, while a delay is being observed and not before.
* `short-heartbeat`: an event connection counts as dead, and a replay as failed, before a delayed answer
arrives. * `silent-metrics`: events are applied, but after the first batch the applied sequence stands
still.
"""

from dataclasses import replace

import msgspec

from resync.gateway.errors import BadSettingError
from resync.gateway.metrics import SourceFamilies, SourceMetrics
from resync.gateway.parts import Admission, Parts
from resync.gateway.settings import Patience
from resync.kits.clocks import Clock
from resync.kvsync.index import PrefixIndex
from resync.kvsync.records import BlockRemoved, BlockStored

SLOW_S = 0.04
SLOW_IN_A_ROW = 3


class RemovalForAllPods(PrefixIndex):
    """Deletes a removed block for every pod."""

    def remove(self, pod_key: str, event: BlockRemoved) -> None:
        """Count one copy less for every pod that is known, the sender among them."""
        for each in {pod_key, *self.pods()}:
            super().remove(each, event)


class Unchained(PrefixIndex):
    """Hangs every block of an event on the event's parent."""

    def store(self, pod_key: str, event: BlockStored) -> None:
        """Store the blocks of `event` one by one, each as if it were the first."""
        size = event.block_size
        for position, block in enumerate(event.block_hashes):
            tokens = event.token_ids[position * size : (position + 1) * size]
            one = msgspec.structs.replace(event, block_hashes=(block,), token_ids=tokens)
            super().store(pod_key, one)


class FrozenAfter(Admission):
    """Stops applying for good, `after_s` after it was made."""

    def __init__(self, clock: Clock, after_s: float) -> None:
        self._clock = clock
        self._ends_s = clock.monotonic_s() + after_s

    def may_apply(self) -> bool:
        """False once the time has come."""
        return self._clock.monotonic_s() < self._ends_s


class FrozenWhenSlow(Admission):
    """Stops applying for good once some engine has answered slowly several times in a row."""

    def __init__(self) -> None:
        self._slow: dict[str, int] = {}
        self._frozen = False

    def may_apply(self) -> bool:
        """False once an engine was slow."""
        return not self._frozen

    def round_trip(self, pod_key: str, round_trip_s: float) -> None:
        """Count slow answers in a row."""
        self._slow[pod_key] = self._slow.get(pod_key, 0) + 1 if round_trip_s >= SLOW_S else 0
        self._frozen = self._frozen or self._slow[pod_key] >= SLOW_IN_A_ROW


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

FLAWS: dict[str, Parts] = {
    "removal-for-all-pods": Parts(index=RemovalForAllPods),
    "unchained": Parts(index=Unchained),
    "frozen-sequence": Parts(admission=lambda _clock: FrozenWhenSlow()),
    "short-heartbeat": Parts(patience=IMPATIENT),
    "silent-metrics": Parts(source_metrics=SilentMetrics),
}


def parts_for(text: str | None) -> Parts:
    """The parts of a gateway with the flaw `NAME[:AFTER_S]`, or of a healthy one. Raises BadSettingError."""
    if text is None:
        return Parts()
    name, _, after = text.partition(":")
    if name not in FLAWS:
        raise BadSettingError(f"--flaw knows {', '.join(FLAWS)}; not {name!r}")
    if not after:
        return FLAWS[name]
    if name != "frozen-sequence":
        raise BadSettingError(f"--flaw {name} takes no time, {after!r} was given")
    try:
        after_s = float(after)
    except ValueError as reason:
        raise BadSettingError(f"--flaw {name}:AFTER_S wants seconds, not {after!r}") from reason
    return replace(FLAWS[name], admission=lambda clock: FrozenAfter(clock, after_s))
