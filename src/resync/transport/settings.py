"""Times and limits of the sockets."""

from typing import Final

import msgspec

from resync.kvsync.limits import SubscriberSettings


class TransportSettings(msgspec.Struct, frozen=True):
    """Times and limits of one subscription. The defaults survive a round trip of 2 s.

    A heartbeat is answered within one round trip, so its time-out must exceed the longest one to be
    survived. A new connection needs about four round trips (TCP, greeting, handshake, request) before a
    replay begins to arrive: hence 20 s for its first message. `connect_timeout_ms` is for TCP alone,
    `handshake_timeout_ms` for greeting and handshake. The pause before dialling again doubles from
    `reconnect_min_ms` to `reconnect_max_ms`, each time stretched by up to `reconnect_jitter` of itself.
    """

    heartbeat_interval_ms: int = 2_000
    heartbeat_timeout_ms: int = 10_000
    connect_timeout_ms: int = 10_000
    handshake_timeout_ms: int = 30_000
    replay_timeout_ms: int = 20_000
    replay_idle_ms: int = 5_000
    reconnect_min_ms: int = 100
    reconnect_max_ms: int = 5_000
    reconnect_jitter: float = 0.5
    rcvhwm: int = 100_000
    local_address: str | None = None
    subscriber: SubscriberSettings = SubscriberSettings()


DEFAULTS: Final = TransportSettings()
