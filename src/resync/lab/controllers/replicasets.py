"""A ReplicaSet keeps as many pods of its template as it asks for.

kubernetes/kubernetes, pkg/controller/replicaset. Every pass lists the pods anew, so none is made twice
because a watch is behind, and a pod that is being deleted is replaced at once.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from resync.kits.clocks import Clock
from resync.lab.controllers.keeping import Keeper
from resync.lab.controllers.objects import Pod, ReplicaSet, ReplicaSetStatus
from resync.lab.controllers.telling import Teller
from resync.lab.kube import PODS, REPLICA_SETS, Change, Kube, NotFoundError, Resource, key_of
from resync.lab.metadata import metadata_of
from resync.lab.queueing import Key

BURST_MAX: Final = 100
"""Pods made or deleted in one pass; the next pass does the rest."""
_PHASES: Final = ("Pending", "Unknown", "Running")


class ReplicaSets:
    """The controller of all of them."""

    def __init__(self, kube: Kube, teller: Teller, clock: Clock) -> None:
        self._kube = kube
        self._keeper = Keeper(kube, teller, clock, REPLICA_SETS)
        self.queue = self._keeper.queue

    def see(self, resource: Resource, change: Change) -> None:
        """A set has changed, or a pod of one."""
        if resource == REPLICA_SETS:
            self.queue.add(key_of(change.object))
        elif resource == PODS:
            pod = metadata_of(change.object)
            if pod.controller is not None and pod.controller.kind == REPLICA_SETS.kind:
                self.queue.add((pod.namespace, pod.controller.name))

    async def reconcile(self, key: Key) -> None:
        """Make or delete pods, then say how many there are. Raises KubeError."""
        try:
            found = msgspec.convert(await self._kube.get(REPLICA_SETS, *key), ReplicaSet)
        except NotFoundError:
            self.queue.forget(key)
            return
        active = [
            pod for pod in await self._keeper.pods(found.metadata, found.spec.selector_text) if pod.active
        ]
        if not found.metadata.terminating:
            await self._resize(found, active)
        await self._report(found, active)

    async def _resize(self, found: ReplicaSet, active: Sequence[Pod]) -> None:
        owner, missing = found.metadata, found.spec.replicas - len(active)
        for _ in range(min(missing, BURST_MAX)):
            await self._keeper.make(owner, found.spec.template, {"generateName": f"{owner.name}-"})
        for pod in deleted_first(active)[: min(max(-missing, 0), BURST_MAX)]:
            await self._keeper.delete(owner, pod)

    async def _report(self, found: ReplicaSet, active: Sequence[Pod]) -> None:
        ready = [pod for pod in active if pod.ready_since is not None]
        status = ReplicaSetStatus(
            replicas=len(active),
            fully_labeled_replicas=len(active),
            ready_replicas=len(ready),
            available_replicas=self._keeper.available(found.metadata, ready, found.spec.min_ready_seconds),
            observed_generation=found.metadata.generation,
        )
        await self._keeper.report(found.metadata, status, found.status)


def deleted_first(pods: Sequence[Pod]) -> list[Pod]:
    """The pods in the order in which a shrinking set deletes them.

    What serves least goes first: not on a node, not running, not ready, often restarted, young
    (kubernetes/kubernetes, pkg/controller/controller_utils.go, `ActivePodsWithRanks`).
    """

    def worth(pod: Pod) -> tuple[object, ...]:
        phase = pod.status.phase
        return (
            bool(pod.spec.node_name),
            _PHASES.index(phase) if phase in _PHASES else 0,
            pod.ready_since is not None,
            -pod.restarts,
            -pod.metadata.creation_timestamp.timestamp(),
            pod.metadata.name,
        )

    return sorted(pods, key=worth)
