"""Wake-ups better than a millisecond.

asyncio rounds every wait up to the next whole millisecond (`selectors.EpollSelector.select` rounds towards
+infinity), which would make each delayed chunk half a millisecond late in the middle and more in the tail.
On Linux one timerfd(2), set to an absolute time of the monotonic clock and read by the same loop, wakes
within tens of microseconds; elsewhere `loop.call_at` has to do.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Final, Protocol

_CLOCK_MONOTONIC: Final = 1
_TIMER_ABSTIME: Final = 1
_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_NANOSECONDS: Final = 1_000_000_000


class _Timer(Protocol):
    """A single wake-up at an absolute monotonic time."""

    def set(self, when_s: float) -> None:
        """Wake at `when_s`, replacing what was set before."""
        ...

    def close(self) -> None:
        """Never wake again."""
        ...


class Alarm:
    """Calls back at absolute monotonic times, in order of time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._set_s = inf
        self._timer: _Timer = (
            _TimerFd(loop, self._ring) if sys.platform == "linux" else _LoopTimer(loop, self._ring)
        )

    def at(self, when_s: float, callback: Callable[[], None]) -> None:
        """Call back once at `when_s` or as soon after it as the loop allows."""
        heappush(self._due, (when_s, next(self._numbers), callback))
        if when_s < self._set_s:
            self._set(when_s)

    def close(self) -> None:
        """Forget every call-back and give the timer back."""
        self._due.clear()
        self._timer.close()

    def _set(self, when_s: float) -> None:
        self._set_s = when_s
        self._timer.set(when_s)

    def _ring(self) -> None:
        now_s = self._loop.time()
        while self._due and self._due[0][0] <= now_s:
            heappop(self._due)[2]()
            now_s = self._loop.time()
        self._set_s = inf
        if self._due:
            self._set(self._due[0][0])


class _LoopTimer:
    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, when_s: float) -> None:
        self.close()
        self._handle = self._loop.call_at(when_s, self._ring)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class _TimerFd:
    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = int(self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "the kernel gave no timer to the link")
        loop.add_reader(self._fd, self._read)

    def set(self, when_s: float) -> None:
        # A zero value would disarm the timer, so a time that has passed is the first nanosecond.
        nanoseconds = max(int(when_s * _NANOSECONDS), 1)
        value = _Timespec(*divmod(nanoseconds, _NANOSECONDS))
        spec = _Itimerspec(_Timespec(0, 0), value)
        if self._libc.timerfd_settime(self._fd, _TIMER_ABSTIME, ctypes.byref(spec), None) != 0:
            raise OSError(ctypes.get_errno(), "the kernel refused to set the link's timer")

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was set anew between the wake-up and now
        self._ring()
