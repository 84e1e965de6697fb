"""What goes when its owner has gone: dependents of a deleted object.

kubernetes/kubernetes, pkg/controller/garbagecollector (Kubernetes documentation, "Garbage collection"). Three
ways, chosen by who deletes: *background*, the owner goes at once and its dependents after it; *foreground*,
the owner waits (finalizer `foregroundDeletion`) for the dependents that block it; *orphan*, the dependents
lose the owner and stay.

Nothing is deleted on the word of a watch: that an owner is absent is asked of the API first.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from resync.lab.controllers.owning import release
from resync.lab.controllers.watching import Watches
from resync.lab.kube import Change, Kube, NotFoundError, Object, Resource, Verb
from resync.lab.metadata import Metadata, OwnerReference, metadata_of
from resync.lab.queueing import Key, WorkQueue

log = logging.getLogger(__name__)

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"


@dataclass(frozen=True, slots=True)
class Node:
    """One object as last seen."""

    resource: Resource
    metadata: Metadata

    def waits(self, finalizer: str) -> bool:
        """Whether it is being deleted this way."""
        return self.metadata.terminating and finalizer in self.metadata.finalizers


class Garbage:
    """The controller. Its keys are uids: ("", uid)."""

    def __init__(self, kube: Kube, watches: Watches) -> None:
        self.queue = WorkQueue()
        self._kube = kube
        self._watches = watches
        self._nodes: dict[str, Node] = {}

    def see(self, resource: Resource, change: Change) -> None:
        """Remember the object; look at it, and when it has gone at those it concerns."""
        node = Node(resource, metadata_of(change.object))
        uid = node.metadata.uid
        if change.verb is Verb.DELETED:
            self._nodes.pop(uid, None)
            self.queue.forget(("", uid))
            for dependent in self._dependents(uid):
                self.queue.add(("", dependent.metadata.uid))
        else:
            self._nodes[uid] = node
            if node.metadata.owner_references or node.metadata.terminating:
                self.queue.add(("", uid))
        for owner in node.metadata.owner_references:
            if owner.uid in self._nodes and self._nodes[owner.uid].metadata.terminating:
                self.queue.add(("", owner.uid))

    async def reconcile(self, key: Key) -> None:
        """Let the object go its way, if it is on one. Raises KubeError."""
        node = self._nodes.get(key[1])
        if node is None:
            return
        if node.waits(ORPHAN):
            await self._orphan(node)
        elif node.waits(FOREGROUND):
            await self._go_after_dependents(node)
        elif not node.metadata.terminating and node.metadata.owner_references:
            await self._go_after_owners(node)

    def _dependents(self, uid: str) -> Iterator[Node]:
        return (
            node
            for node in list(self._nodes.values())
            if any(owner.uid == uid for owner in node.metadata.owner_references)
        )

    async def _orphan(self, node: Node) -> None:
        for dependent in self._dependents(node.metadata.uid):
            await release(self._kube, dependent.resource, dependent.metadata, {node.metadata.uid})
        await self._unfinalize(node, ORPHAN)

    async def _go_after_dependents(self, node: Node) -> None:
        dependents = list(self._dependents(node.metadata.uid))
        for dependent in dependents:
            if not dependent.metadata.terminating:
                await self._delete(dependent, "Foreground")
        if not any(_blocks(dependent, node) for dependent in dependents):
            await self._unfinalize(node, FOREGROUND)

    async def _go_after_owners(self, node: Node) -> None:
        going = [owner for owner in node.metadata.owner_references if await self._is_going(node, owner)]
        if not going:
            return
        if len(going) < len(node.metadata.owner_references):
            await release(self._kube, node.resource, node.metadata, {owner.uid for owner in going})
        else:
            await self._delete(node, "Background")

    async def _is_going(self, node: Node, owner: OwnerReference) -> bool:
        """Whether this owner no longer keeps the object: it is not there, or waits for its dependents."""
        known = self._nodes.get(owner.uid)
        if known is not None:
            return known.waits(FOREGROUND)
        served = self._watches.kinds.get((owner.api_version, owner.kind))
        if served is None:
            log.warning("%s names an owner of unknown kind %s", node.metadata.name, owner.kind)
            return False
        namespace = node.metadata.namespace if served.namespaced else None
        try:
            found = await self._kube.get(served.resource, namespace, owner.name)
        except NotFoundError:
            return True
        return bool(found["metadata"]["uid"] != owner.uid)

    async def _delete(self, node: Node, propagation: str) -> None:
        metadata = node.metadata
        namespace = metadata.namespace or None
        await self._kube.delete(
            node.resource, namespace, metadata.name, uid=metadata.uid, propagation=propagation
        )

    async def _unfinalize(self, node: Node, finalizer: str) -> None:
        metadata = node.metadata
        left = [one for one in metadata.finalizers if one != finalizer]
        body: Object = {"metadata": {"resourceVersion": metadata.resource_version, "finalizers": left}}
        await self._kube.patch(node.resource, metadata.namespace or None, metadata.name, body)


def _blocks(dependent: Node, owner: Node) -> bool:
    references = dependent.metadata.owner_references
    return any(one.uid == owner.metadata.uid and one.block_owner_deletion for one in references)
