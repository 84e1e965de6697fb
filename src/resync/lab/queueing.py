"""A queue of object keys: each key at most once, some of them later, failed ones with a growing pause.

The rate is controller-runtime's default (5 ms doubling to 1000 s), because how long a broken experiment
rests between tries is part of how it looks from outside.
"""

import asyncio
from typing import Final

Key = tuple[str, str]
"""Namespace and name."""

RETRY_FIRST_S: Final = 0.005
RETRY_MAX_S: Final = 1000.0


class WorkQueue:
    """Keys to work on, in order of arrival."""

    def __init__(self) -> None:
        self._waiting: dict[Key, None] = {}
        self._arrived = asyncio.Event()
        self._later: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Work on this key soon; a key that waits already is not added again."""
        self._waiting[key] = None
        self._arrived.set()

    def add_after(self, key: Key, delay_s: float) -> None:
        """Work on this key once `delay_s` has passed.

        Replaces an earlier appointment only if it is sooner.
        """
        loop = asyncio.get_running_loop()
        when_s = loop.time() + delay_s
        appointed = self._later.get(key)
        if appointed is not None and appointed.when() <= when_s:
            return
        if appointed is not None:
            appointed.cancel()
        self._later[key] = loop.call_at(when_s, self._due, key)

    def failed(self, key: Key) -> None:
        """Work on this key again after its pause, which doubles with every failure in a row."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        self.add_after(key, min(RETRY_FIRST_S * 2**count, RETRY_MAX_S))

    def succeeded(self, key: Key) -> None:
        """The next failure of this key starts with the shortest pause again."""
        self._failures.pop(key, None)

    def forget(self, key: Key) -> None:
        """The object is gone: no appointment, no memory."""
        self._failures.pop(key, None)
        appointed = self._later.pop(key, None)
        if appointed is not None:
            appointed.cancel()

    async def get(self) -> Key:
        """The key that has waited longest, once there is one."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        return key

    def _due(self, key: Key) -> None:
        self._later.pop(key, None)
        self.add(key)
