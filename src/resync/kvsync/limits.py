"""How much a subscriber keeps, how often it asks, how long it waits."""

from typing import Final

import msgspec


class SubscriberSettings(msgspec.Struct, frozen=True):
    """Limits. `held_limit` and `fingerprint_limit` are in batches; vLLM's ring is 10,000 long.

    `tries_limit` bounds the requests for the same batches.
    """

    held_limit: int = 20_000
    fingerprint_limit: int = 4_096
    tries_limit: int = 3
    retry_min_s: float = 30.0
    retry_max_s: float = 600.0
    tail_patience_s: float = 5.0


DEFAULTS: Final = SubscriberSettings()
