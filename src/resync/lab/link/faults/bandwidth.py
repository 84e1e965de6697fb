"""A token bucket (tc-tbf(8)): what leaves a pod shares `rate`, after a first burst of `buffer` bytes.

All streams under the rule draw from one bucket. What waits beyond `limit` bytes is dropped by the real one,
which slows TCP down; here the sender is slowed down directly once the link's own buffer is full, so `limit`
changes nothing. When the rule goes its queue goes too, and what waited there leaves at once.
"""

import re
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import Final

from resync.lab.link.chunks import Chunk
from resync.lab.link.rules import Rule

SETTINGS: Final = {"tbf": frozenset({"rate", "limit", "buffer"})}
_RATE: Final = re.compile(r"(\d+)([kmgt]?)(bit|bps)")
_THOUSANDS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_BYTES: Final = {"bit": 1 / 8, "bps": 1.0}


@dataclass(slots=True)
class Bucket:
    """`size` bytes of tokens, refilled at `rate` bytes per second; `full_s` is when it is full again."""

    rate: float
    size: float
    full_s: float = -inf

    def leave_s(self, size: int, ready_s: float) -> float:
        """When these bytes may go that are ready at `ready_s`; their tokens are taken."""
        full_s = max(self.full_s, ready_s)
        self.full_s = full_s + size / self.rate
        return max(ready_s, full_s + (size - self.size) / self.rate)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """At most `rate` bytes per second for all streams of the rule, `burst` bytes of them at once."""

    rate: float
    burst: float
    bucket: Bucket = field(compare=False)

    def begin(self, _: Random) -> "BandwidthEffect":
        """The rule on one stream; the bucket is everybody's."""
        return BandwidthEffect(self.bucket)


@dataclass(slots=True)
class BandwidthEffect:
    """One stream at the common bucket."""

    bucket: Bucket

    def apply(self, chunk: Chunk) -> Chunk:
        """The chunk, once there are tokens for all of it."""
        return replace(chunk, release_s=self.bucket.leave_s(chunk.size, chunk.release_s))

    def lift(self, chunk: Chunk, now_s: float) -> float:
        """The queue is gone."""
        return min(chunk.release_s, now_s)


def read(rule: Rule) -> Bandwidth | None:
    """The bandwidth a tbf rule asks for, None for another rule.

    Raises ValueError for a rate it cannot read.
    """
    if rule.kind != "tbf":
        return None
    rate, burst = _bytes_per_second(str(rule.settings.get("rate"))), float(rule.settings.get("buffer", 0))
    return Bandwidth(rate, burst, Bucket(rate, burst))


def _bytes_per_second(text: str) -> float:
    """Of `1mbps` (tc(8): bps are bytes, bit are bits, prefixes are powers of a thousand)."""
    found = _RATE.fullmatch(text)
    if found is None or not int(found[1]):
        raise ValueError(
            f"a rate must be a positive number and a unit of tc(8) such as mbit or mbps, got {text!r}"
        )
    return int(found[1]) * 1000.0 ** _THOUSANDS[found[2]] * _BYTES[found[3]]
