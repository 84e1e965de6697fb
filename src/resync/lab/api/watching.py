"""A watch: the changes of one kind that one client asked for, from a version on, in a bounded queue.

Joining is atomic: what is there (or what the log remembers) is queued and the listener is registered without
an await in between, so nothing is missed and nothing comes twice. A client that does not keep up loses the
watch (410), not the server its memory (Kubernetes documentation, "API concepts: efficient detection of
changes").
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from resync.lab.api import errors
from resync.lab.api.resources import Resource
from resync.lab.api.selectors import Predicate
from resync.lab.api.store import ADDED, DELETED, MODIFIED, Change, Item, Store

QUEUE_LENGTH_MAX = 2_000
"""Changes one watcher may be behind."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """From where and how. `version` None: start with everything there is, as added."""

    version: int | None
    bookmarks: bool = False
    initial_events: bool = False
    timeout_s: float = 1800.0


@dataclass(slots=True)
class Subscription:
    """The changes a watcher still has to send. `overrun` says that some are lost."""

    matches: Predicate
    length_max: int = QUEUE_LENGTH_MAX
    queue: deque[tuple[str, Item]] = field(default_factory=deque)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    overrun: bool = False

    def see(self, change: Change) -> None:
        """Queue a change as seen through the selector: what stops matching is deleted there."""
        kind = self._kind_seen(change)
        if kind is None or self.overrun:
            return
        self.queue.append((kind, change.item))
        if len(self.queue) > self.length_max:
            self.overrun = True
            self.queue.clear()
        self.ready.set()

    def _kind_seen(self, change: Change) -> str | None:
        before = change.before is not None and self.matches(change.before.body)
        after = change.kind != DELETED and self.matches(change.item.body)
        if before:
            return MODIFIED if after else DELETED
        return ADDED if after else None

    async def wait(self, timeout_s: float) -> bool:
        """True when something is queued or lost, False when `timeout_s` passed without."""
        if not self.queue and not self.overrun:
            self.ready.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self.ready.wait()
            except TimeoutError:
                return False
        return True


class Closing:
    """The server's end: set once, it wakes every watch that waits."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: set[asyncio.Event] = set()

    def is_set(self) -> bool:
        """Whether it has come."""
        return self._set

    def set(self) -> None:
        """It has come."""
        self._set = True
        for ready in self._waiting:
            ready.set()

    @contextmanager
    def waking(self, subscription: Subscription) -> Iterator[None]:
        """Wake that watch, as long as this lasts."""
        self._waiting.add(subscription.ready)
        try:
            yield
        finally:
            self._waiting.discard(subscription.ready)


@contextmanager
def subscribed(
    store: Store, resource: Resource, matches: Predicate, options: WatchOptions
) -> Iterator[Subscription]:
    """A subscription filled with what the client missed. Raises ApiError 410 when that is no longer known."""
    shelf = store.shelf(resource.stored_as)
    subscription = Subscription(matches)
    if options.version is None or options.initial_events:
        items = [item for _, item in sorted(shelf.items.items()) if matches(item.body)]
        subscription.length_max = max(QUEUE_LENGTH_MAX, 2 * len(items))
        subscription.queue.extend((ADDED, item) for item in items)
    else:
        if options.version > store.version:
            raise errors.expired(options.version, store.version)
        for change in shelf.since(options.version):
            subscription.see(change)
    shelf.listeners.append(subscription.see)
    try:
        yield subscription
    finally:
        shelf.listeners.remove(subscription.see)
