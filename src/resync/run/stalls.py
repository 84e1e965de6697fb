"""Does the runner itself stand still? A thread that asks for a short sleep and notes when it got a long one.

A laptop that was suspended, a machine that swaps, a debugger: what was timed meanwhile says nothing about the
system. The intervals are recorded, and timed claims leave out what falls into them.
"""

import threading
from collections.abc import Callable

from resync.kits.clocks import Clock, SystemClock

TICK_S = 0.05
LIMIT_S = 0.5
"""Longer than any scheduling delay that leaves a 250 ms scrape and a 200 ms slack meaningful."""

Window = tuple[float, float]


class StallWatch:
    """Watches until stopped; `windows` are the intervals (wall time) in which the process stood still."""

    def __init__(self, told: Callable[[Window], None], clock: Clock | None = None) -> None:
        """`told` is called with each stall, from the watching thread."""
        self._told = told
        self._clock = clock or SystemClock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resync-stalls", daemon=True)
        self.windows: list[Window] = []

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch; idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _watch(self) -> None:
        before = self._clock.monotonic_s()
        while not self._stop.wait(TICK_S):
            now = self._clock.monotonic_s()
            self.looked(now - before)
            before = now

    def looked(self, elapsed_s: float) -> None:
        """Take note of how long one tick really took."""
        if elapsed_s > LIMIT_S:
            end = self._clock.wall_s()
            stall = (end - elapsed_s, end)
            self.windows.append(stall)
            self._told(stall)
