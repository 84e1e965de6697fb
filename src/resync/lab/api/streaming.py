"""The body of a watch: one JSON document per line, until the time is up, the client goes or falls behind."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web

from resync.lab.api import errors
from resync.lab.api.answers import Renderer
from resync.lab.api.objects import encode
from resync.lab.api.selectors import Predicate
from resync.lab.api.store import Store
from resync.lab.api.watching import Closing, Subscription, WatchOptions, subscribed

BOOKMARK_EVERY_S = 30.0
WRITE_TIMEOUT_S = 10.0
"""How long a client may leave the socket full before the connection is cut."""


def event_line(kind: str, raw: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), raw)


@dataclass(slots=True)
class Stream:
    """One watch of one client: what to send, in which form, and how long."""

    request: web.Request
    store: Store
    renderer: Renderer
    matches: Predicate
    options: WatchOptions
    closing: Closing
    _response: web.StreamResponse = field(default_factory=web.StreamResponse)

    async def answer(self) -> web.StreamResponse:
        """Answer the watch to its end; that a version is gone is said in the stream."""
        self._response.content_type = "application/json"
        self._response.enable_chunked_encoding()
        with suppress(ConnectionResetError):  # the client is gone: nobody is left to tell
            await self._tell()
        return self._response

    async def _tell(self) -> None:
        """Raises ConnectionResetError when the client is gone or does not read."""
        try:
            with (
                subscribed(self.store, self.renderer.resource, self.matches, self.options) as subscription,
                self.closing.waking(subscription),
            ):
                await self._response.prepare(self.request)
                await self._run(subscription)
        except errors.ApiError as refusal:
            await self._response.prepare(self.request)
            await self._send(event_line("ERROR", encode(refusal.status())))

    async def _run(self, subscription: Subscription) -> None:
        deadline = time.monotonic() + self.options.timeout_s
        bookmark_at = time.monotonic() + BOOKMARK_EVERY_S
        initial = self.options.initial_events
        while (now := time.monotonic()) < deadline:
            if not await self._send_queued(subscription):
                return
            if self.options.bookmarks and (initial or now >= bookmark_at):
                await self._bookmark(initial_end=initial)
                initial, bookmark_at = False, now + BOOKMARK_EVERY_S
            if self.closing.is_set():
                break
            due = min(bookmark_at, deadline) if self.options.bookmarks else deadline
            await subscription.wait(due - now)
        if self.options.bookmarks and not subscription.queue:
            await self._bookmark(initial_end=False)

    async def _send_queued(self, subscription: Subscription) -> bool:
        """Send all that waits; False when the watch has to end because changes were lost."""
        while subscription.queue:
            kind, item = subscription.queue.popleft()
            await self._send(event_line(kind, self.renderer.encoded(item)))
        if subscription.overrun:
            status = errors.ApiError(410, "Expired", "the watcher is too slow: changes were dropped").status()
            await self._send(event_line("ERROR", encode(status)))
        return not subscription.overrun

    async def _bookmark(self, *, initial_end: bool) -> None:
        raw = self.renderer.bookmark(self.store.version, initial_end=initial_end)
        await self._send(event_line("BOOKMARK", raw))

    async def _send(self, line: bytes) -> None:
        """Raises ConnectionResetError when the client is gone or does not read."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._response.write(line)
        except TimeoutError as error:
            if self.request.transport is not None:
                self.request.transport.abort()
            raise ConnectionResetError("the watcher does not read") from error
