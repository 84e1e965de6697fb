"""Objects, versions, what changed, and who wants to know.

One counter numbers every write of every kind (`resourceVersion`). Each kind keeps a bounded log of its last
changes, so that a watcher can resume from a version it knows; when the log no longer reaches back that far,
the answer is 410 and the watcher lists again (kubernetes/community, api-conventions.md, "Concurrency Control
and Consistency").

The log is bounded per kind, not over all: a busy kind must not expire the watchers of a quiet one.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from resync.lab.api import errors
from resync.lab.api.objects import JsonObject, encode, metadata

LOG_LENGTH_MAX = 1_000
"""Changes kept per kind: minutes of the lab's busiest kind."""

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"

GroupPlural = tuple[str, str]
Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-wide objects."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object at one version, with its encoding: written once, sent many times."""

    body: JsonObject
    raw: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Change:
    """One write.

    `before` is None for a creation; for a deletion `item` is the last state at the deletion's version.
    """

    kind: str
    item: Item
    before: Item | None


Listener = Callable[[Change], None]


@dataclass(slots=True)
class Shelf:
    """All objects of one kind, its recent changes and the listeners of its changes."""

    log_length_max: int
    items: dict[Key, Item] = field(default_factory=dict)
    log: deque[Change] = field(default_factory=deque)
    floor: int = 0
    listeners: list[Listener] = field(default_factory=list)

    def record(self, change: Change) -> None:
        """Remember a change and tell every listener, in the order they came."""
        self.log.append(change)
        if len(self.log) > self.log_length_max:
            self.floor = self.log.popleft().item.version
        for listener in list(self.listeners):
            listener(change)

    def since(self, version: int) -> Iterator[Change]:
        """Changes after a version. Raises ApiError 410 when they are no longer all known."""
        if version < self.floor:
            raise errors.expired(version, self.floor)
        return (change for change in list(self.log) if change.item.version > version)


@dataclass(slots=True)
class Store:
    """The whole state of the API: a shelf per kind and one version counter."""

    log_length_max: int = LOG_LENGTH_MAX
    version: int = 0
    _shelves: dict[GroupPlural, Shelf] = field(default_factory=dict)

    def shelf(self, kind: GroupPlural) -> Shelf:
        """The shelf of a kind, empty at first."""
        found = self._shelves.get(kind)
        if found is None:
            found = self._shelves[kind] = Shelf(self.log_length_max)
        return found

    def put(self, kind: GroupPlural, key: Key, body: JsonObject) -> Item:
        """Store `body` (kept as is: the caller gives it away) at the next version and tell the listeners."""
        shelf = self.shelf(kind)
        before = shelf.items.get(key)
        item = self._stamped(body)
        shelf.items[key] = item
        shelf.record(Change(ADDED if before is None else MODIFIED, item, before))
        return item

    def remove(self, kind: GroupPlural, key: Key, last: JsonObject) -> Item:
        """Take the object away; `last` is what the watchers see go. Raises KeyError when it is not there."""
        shelf = self.shelf(kind)
        before = shelf.items.pop(key)
        item = self._stamped(last)
        shelf.record(Change(DELETED, item, before))
        return item

    def _stamped(self, body: JsonObject) -> Item:
        self.version += 1
        metadata(body)["resourceVersion"] = str(self.version)
        return Item(body, encode(body), self.version)
