"""Waits that have a name, a limit, and say what was last seen when the limit passes.

`condition` returns a truthy value when it holds; that value is what the wait returns. A falsy value is "not
yet" and is quoted in the error, so let a condition return what it saw where that helps the reader.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class WaitTimeoutError(TimeoutError):
    """A named wait passed its limit; the message says what for, how long, and what was last seen."""

    def __init__(self, what: str, timeout_s: float, last_seen: object) -> None:
        super().__init__(f"waited {timeout_s:g} s for {what}; last seen: {last_seen!r}")
        self.what = what
        self.timeout_s = timeout_s
        self.last_seen = last_seen


def wait_until(condition: Callable[[], T], *, what: str, timeout_s: float, every_s: float = 0.05) -> T:
    """The first truthy value of `condition`, asked every `every_s` seconds. Raises WaitTimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not (seen := condition()):
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(what, timeout_s, seen)
        time.sleep(every_s)
    return seen


async def wait_until_async(
    condition: Callable[[], Awaitable[T]], *, what: str, timeout_s: float, every_s: float = 0.05
) -> T:
    """As `wait_until`, for a condition that is awaited. Raises WaitTimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not (seen := await condition()):
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(what, timeout_s, seen)
        await asyncio.sleep(every_s)
    return seen
