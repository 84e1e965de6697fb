"""One watch per kind the API serves, for all controllers together.

Kinds are found by discovery and looked for again whenever a CustomResourceDefinition changes. Events are left
out: they belong to nobody and are many (as in kubernetes/kubernetes, pkg/controller/garbagecollector,
`DefaultIgnoredResources`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Never

import msgspec

from resync.lab.kube import DEFINITIONS, Change, Kube, KubeError, Object, Resource, Verb

log = logging.getLogger(__name__)

_IGNORED: Final = frozenset({"events"})
_NEEDED: Final = frozenset({"delete", "list", "watch"})
RETRY_S: Final = 0.2

Listener = Callable[[Resource, Change], None]


class Served(msgspec.Struct, frozen=True):
    """One kind and whether its objects are in namespaces."""

    resource: Resource
    namespaced: bool


class _Entry(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool
    verbs: list[str] = []


class Watches:
    """The kinds, and what happens to their objects, told to every listener."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.listeners: list[Listener] = []
        self.kinds: dict[tuple[str, str], Served] = {}
        """By apiVersion and kind."""
        self._following: dict[Resource, asyncio.Task[None]] = {}
        self._definitions_changed = asyncio.Event()

    async def run(self) -> Never:
        """Follow everything until cancelled."""
        self.listeners.append(self._see)
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._definitions_changed.clear()
                await self._look(tasks)
                await self._definitions_changed.wait()

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        try:
            self.kinds = {(one.resource.api_version, one.resource.kind): one for one in await self._served()}
        except KubeError as error:
            log.warning("the kinds are not known: %s", error)
            asyncio.get_running_loop().call_later(RETRY_S, self._definitions_changed.set)
            return
        wanted = {one.resource for one in self.kinds.values()}
        for resource in self._following.keys() - wanted:
            self._following.pop(resource).cancel()
        for resource in wanted - self._following.keys():
            task = tasks.create_task(self._follow(resource), name=f"controllers: watch {resource.plural}")
            self._following[resource] = task

    async def _follow(self, resource: Resource) -> None:
        async for change in self._kube.follow(resource):
            if change.verb is not Verb.SYNCED:
                for listener in self.listeners:
                    listener(resource, change)

    def _see(self, resource: Resource, _: Change) -> None:
        if resource == DEFINITIONS:
            self._definitions_changed.set()

    async def _served(self) -> list[Served]:
        groups = (await self._kube.document("/apis"))["groups"]
        versions = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
        return [one for path in versions for one in _kinds_of(await self._kube.document(path))]


def _kinds_of(document: Object) -> Iterator[Served]:
    for entry in msgspec.convert(document["resources"], list[_Entry]):
        if "/" not in entry.name and entry.name not in _IGNORED and _NEEDED.issubset(entry.verbs):
            resource = Resource(document["groupVersion"], entry.kind, entry.name)
            yield Served(resource, entry.namespaced)


def namespaced(kinds: Mapping[tuple[str, str], Served]) -> list[Resource]:
    """The kinds whose objects are in namespaces."""
    return [one.resource for one in kinds.values() if one.namespaced]
