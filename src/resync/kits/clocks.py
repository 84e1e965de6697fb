"""Time as an argument: whoever needs to know the time is handed a `Clock`.

Two readings that must never be mixed: `wall_s` can be compared between processes of one machine and with
Prometheus timestamps; `monotonic_s` only grows and is the one to measure durations with.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a component reads the time from."""

    def wall_s(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go backwards; the origin means nothing."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to: virtual time for tests and simulations."""

    def __init__(self, start_s: float = 1_700_000_000.0) -> None:
        self._wall_s = start_s
        self._monotonic_s = 0.0

    def wall_s(self) -> float:
        """Seconds since the epoch, as last set."""
        return self._wall_s

    def monotonic_s(self) -> float:
        """Seconds advanced since construction."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both readings forward. Raises ValueError for a negative step: time does not go back here."""
        if seconds < 0:
            raise ValueError(f"a clock cannot advance by {seconds} s")
        self._wall_s += seconds
        self._monotonic_s += seconds
