"""Deliberate defects of the gateway, for tests that must see each of them found. Off unless asked for.

Two tables: a name and what it replaces. Nothing else in the process knows that they exist: the gateway is
built from `resync.gateway.parts.Parts`, and a flaw is another value of one of them. `NAME[:AFTER_S]` on the
command line. Each is a defect that somebody has had; where from stands beside it.

Those of `TIMED` set in AFTER_S seconds after start or, without that, once the answers of all engines have
been slow (`SLOW_S` or more) several times in a row: while a delay is being observed and not before, so that
a run finds a system that was steady and broke. The one that a rush brings out waits for a rush instead. Those
of `STANDING` are there from the start, and show once something happens that a healthy day does not bring.
"""

from collections.abc import Callable
from functools import partial

from resync.gateway.errors import BadSettingError
from resync.gateway.flaws.connections import (
    Refuses,
    Resetting,
    says_it_in_maps,
    says_something_unknown,
)
from resync.gateway.flaws.indexes import (
    KeptOnRestart,
    KeptOnReturn,
    Late,
    OrphanAsRoot,
    RemovalForAllPods,
    RemovalIgnored,
    SetOfHashes,
    Unchained,
)
from resync.gateway.flaws.onsets import SLOW_IN_A_ROW, SLOW_S, Frozen, Noticing, Onset
from resync.gateway.flaws.rushes import LostInARush
from resync.gateway.flaws.showing import SilentMetrics
from resync.gateway.flaws.streams import (
    EndTrusted,
    GapOnlyCounted,
    LiveBeforeReplay,
    ReplayCountedTwice,
    ReplayDiscarded,
    RestartIgnored,
)
from resync.gateway.parts import Parts, Subscribe
from resync.gateway.settings import Patience
from resync.kits.clocks import Clock
from resync.kvsync.limits import SubscriberSettings
from resync.kvsync.source import Source
from resync.kvsync.subscriber import Subscriber
from resync.transport.subscription import Handler, Subscription, TransportSettings

__all__ = ["SLOW_IN_A_ROW", "SLOW_S", "STANDING", "TIMED", "Onset", "parts_for"]

IMPATIENT = Patience(
    heartbeat_interval_s=0.04, heartbeat_timeout_s=0.08, connect_timeout_s=0.08, replay_timeout_s=0.2
)
"""A heartbeat needs one round trip, a replay over a new connection about four: at 0 ms both are far below
these limits, at 100 ms both are above."""

Timed = Callable[[Onset], Parts]


def _indexing(index: type[Late]) -> Timed:
    return lambda onset: Parts(index=partial(index, onset), admission=partial(Noticing, onset))


def _following(machine: Callable[[SubscriberSettings], Subscriber]) -> Parts:
    def subscription(source: Source, handler: Handler, settings: TransportSettings) -> Subscription:
        return Subscription(source, handler, settings, subscriber=machine(settings.subscriber))

    return Parts(subscription=subscription)


def _resetting(cannot_read: Refuses) -> Timed:
    def parts(onset: Onset) -> Parts:
        def refuses(payload: bytes) -> bool:
            return onset.has_come() and cannot_read(payload)

        subscription: Subscribe = partial(Resetting, refuses)
        return Parts(subscription=subscription, admission=partial(Noticing, onset))

    return parts


def _silent(onset: Onset) -> Parts:
    return Parts(source_metrics=partial(SilentMetrics, onset), admission=partial(Noticing, onset))


TIMED: dict[str, Timed] = {
    "removal-for-all-pods": _indexing(RemovalForAllPods),  # AIBrix sync_hash.go before #2723
    "removal-ignored": _indexing(RemovalIgnored),  # dynamo#11785
    "unchained": _indexing(Unchained),  # AIBrix sync_hash.go
    "set-of-hashes": _indexing(SetOfHashes),  # vLLM #55092
    "maps-refused": _resetting(says_it_in_maps),  # AIBrix msgpack_decoder.go before #2587
    "poison-resets": _resetting(says_something_unknown),  # aibrix#1720
    "lost-in-a-rush": lambda onset: Parts(admission=partial(LostInARush, onset)),  # libzmq's limit, AIBrix
    "silent-metrics": _silent,  # AIBrix kvcache/metrics.go
    "frozen-sequence": lambda onset: Parts(admission=partial(Frozen, onset)),
}
STANDING: dict[str, Parts] = {
    "short-heartbeat": Parts(patience=IMPATIENT),
    "orphan-as-root": Parts(index=OrphanAsRoot),  # AIBrix sync_hash.go
    "kept-on-restart": Parts(index=KeptOnRestart),  # llm-d-router#2853
    "kept-on-return": Parts(index=KeptOnReturn),  # AIBrix kvevent/manager.go
    "replay-discarded": _following(ReplayDiscarded),  # AIBrix zmq_client.go
    "replay-end-trusted": _following(EndTrusted),  # sglang#38945
    "replay-counted-twice": _following(ReplayCountedTwice),  # llm-d-router#1887
    "live-before-replay": _following(LiveBeforeReplay),  # Mooncake#4159
    "gap-only-counted": _following(GapOnlyCounted),  # AIBrix zmq_client.go, llm-d-router#1737
    "restart-ignored": _following(RestartIgnored),  # AIBrix zmq_client.go
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
