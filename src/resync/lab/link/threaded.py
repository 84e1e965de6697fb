"""A link in a thread with a loop of its own, so the node's and the mesh's work cannot delay a chunk's release.

The threads still share the interpreter lock, which by default is handed over every 5 ms;
`SWITCH_INTERVAL_S` makes a busy neighbour let go sooner. Calls cross over with a limit on the wait.
"""

import asyncio
import sys
import threading
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self, TypeVar

from resync.lab.link.errors import LinkError
from resync.lab.link.link import Endpoints, Link, LinkStatistics
from resync.lab.link.rules import Rule

CALL_TIMEOUT_S: Final = 10.0
SWITCH_INTERVAL_S: Final = 0.0005

T = TypeVar("T")


class ThreadedLink:
    """`async with ThreadedLink(Link(...))`: the same calls, from any loop of this process."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="link", daemon=True)

    async def __aenter__(self) -> Self:
        """Start the thread; returns when its loop runs."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._thread.start()
        if not await asyncio.to_thread(self._ready.wait, CALL_TIMEOUT_S):
            raise LinkError(f"the link's thread was not ready within {CALL_TIMEOUT_S:g} s")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the link and end the thread."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join, CALL_TIMEOUT_S)

    async def open_pod(self, pod: Endpoints) -> None:
        """As `Link.open_pod`."""
        await self._call(self._link.open_pod(pod))

    async def close_pod(self, uid: str) -> None:
        """As `Link.close_pod`."""
        await self._call(self._link.close_pod(uid))

    async def set_rules(self, uid: str, rules: Sequence[Rule]) -> None:
        """As `Link.set_rules`."""
        await self._call(self._link.set_rules(uid, rules))

    def statistics(self) -> LinkStatistics:
        """As `Link.statistics`; a reading of another thread's counters, so it may be one behind."""
        return self._link.statistics()

    async def _live(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._link)
            self._ready.set()
            await self._stop.wait()

    async def _call(self, work: Coroutine[object, object, T]) -> T:
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await asyncio.wrap_future(future)
