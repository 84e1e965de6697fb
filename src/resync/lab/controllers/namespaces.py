"""A namespace that is deleted takes with it what is in it, and goes when that has gone.

kubernetes/kubernetes, pkg/controller/namespace: delete what is there, look again whenever something of it has
gone, and take the last finalizer away (the `finalize` subresource) once nothing is left.
"""

from typing import Final

from resync.lab.controllers.watching import Watches, namespaced
from resync.lab.kube import (
    NAMESPACES,
    Change,
    ConflictError,
    Kube,
    NotFoundError,
    Object,
    Resource,
    Verb,
    key_of,
)
from resync.lab.metadata import metadata_of
from resync.lab.queueing import Key, WorkQueue

LOOK_AGAIN_S: Final = 1.0
"""For what goes unseen: a kind nobody watches."""


class Namespaces:
    """The controller of all of them."""

    def __init__(self, kube: Kube, watches: Watches) -> None:
        self.queue = WorkQueue()
        self._kube = kube
        self._watches = watches
        self._going: set[str] = set()

    def see(self, resource: Resource, change: Change) -> None:
        """A namespace is going, or something in one that is has gone."""
        namespace, name = key_of(change.object)
        if resource == NAMESPACES:
            gone = change.verb is Verb.DELETED
            if gone or not metadata_of(change.object).terminating:
                self._going.discard(name)
                self.queue.forget(("", name))
            else:
                self._going.add(name)
                self.queue.add(("", name))
        elif change.verb is Verb.DELETED and namespace in self._going:
            self.queue.add(("", namespace))

    async def reconcile(self, key: Key) -> None:
        """Delete what is in it; finalize it when nothing is. Raises KubeError."""
        name = key[1]
        if name not in self._going:
            return
        found = await self._kube.get(NAMESPACES, None, name)
        contents = [
            (resource, item)
            for resource in namespaced(self._watches.kinds)
            for item in (await self._kube.list(resource, name))[0]
        ]
        for resource, item in contents:
            await self._delete(resource, name, item)
        if contents:
            self.queue.add_after(key, LOOK_AGAIN_S)
            return
        body: Object = {**found, "spec": {"finalizers": []}}
        await self._kube.replace(NAMESPACES, None, name, body, subresource="finalize")

    async def _delete(self, resource: Resource, namespace: str, item: Object) -> None:
        metadata = metadata_of(item)
        if metadata.terminating:
            return
        try:
            await self._kube.delete(
                resource, namespace, metadata.name, uid=metadata.uid, propagation="Background"
            )
        except (NotFoundError, ConflictError):
            return  # gone meanwhile, or another of its name: the next look tells
