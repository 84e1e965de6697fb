"""A ReplicaSet keeps as many pods of its template as it asks for.

kubernetes/kubernetes, pkg/controller/replicaset. Every pass lists the pods anew, so none is made twice
because a watch is behind, and a pod that is being deleted is replaced at once.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from resync.kits.clocks import Clock
from resync.lab.controllers.objects import Metadata, Pod, ReplicaSet, ReplicaSetStatus, metadata_of
from resync.lab.controllers.owning import claimed
from resync.lab.controllers.telling import WARNING, Teller
from resync.lab.kube import (
    PODS,
    REPLICA_SETS,
    Change,
    Kube,
    NotFoundError,
    Object,
    RefusedError,
    Resource,
    key_of,
)
from resync.lab.mesh.queueing import Key, WorkQueue

BURST_MAX: Final = 100
"""Pods made or deleted in one pass; the next pass does the rest."""
_ENDING: Final = "because it is being terminated"
"""How a refusal to create in a namespace that is going ends (kubernetes/apiserver, namespace lifecycle)."""
_PHASES: Final = ("Pending", "Unknown", "Running")


class ReplicaSets:
    """The controller of all of them."""

    def __init__(self, kube: Kube, teller: Teller, clock: Clock) -> None:
        self.queue = WorkQueue()
        self._kube = kube
        self._teller = teller
        self._clock = clock

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
        owner, reference = found.metadata, found.metadata.reference(REPLICA_SETS)
        pods = await claimed(self._kube, PODS, Pod, owner=owner, reference=reference, labels=found.selector)
        active = [pod for pod in pods if pod.active]
        if not owner.terminating:
            await self._resize(found, active)
        await self._report(found, active)

    async def _resize(self, found: ReplicaSet, active: Sequence[Pod]) -> None:
        missing = found.spec.replicas - len(active)
        for _ in range(min(missing, BURST_MAX)):
            await self._create(found)
        for pod in deleted_first(active)[: min(max(-missing, 0), BURST_MAX)]:
            await self._kube.delete(PODS, pod.metadata.namespace, pod.metadata.name, uid=pod.metadata.uid)
            await self._tell(found, "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

    async def _create(self, found: ReplicaSet) -> None:
        try:
            made = await self._kube.create(PODS, found.metadata.namespace, pod_of(found))
        except RefusedError as error:
            if _ENDING not in str(error):  # the set itself goes in a moment
                message = f"Error creating: {error}"
                await self._teller.tell(found.metadata, REPLICA_SETS, "FailedCreate", message, WARNING)
            raise
        await self._tell(found, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    async def _tell(self, found: ReplicaSet, reason: str, message: str) -> None:
        await self._teller.tell(found.metadata, REPLICA_SETS, reason, message)

    async def _report(self, found: ReplicaSet, active: Sequence[Pod]) -> None:
        now = datetime.fromtimestamp(self._clock.wall_s(), UTC)
        least = timedelta(seconds=found.spec.min_ready_seconds)
        ready = [pod for pod in active if pod.ready_since is not None]
        waits = [left for pod in ready if (left := _still_to_wait(pod, now, least)) > timedelta()]
        if waits:
            self.queue.add_after(_key(found.metadata), min(waits).total_seconds())
        status = ReplicaSetStatus(
            replicas=len(active),
            fully_labeled_replicas=len(active),
            ready_replicas=len(ready),
            available_replicas=len(ready) - len(waits),
            observed_generation=found.metadata.generation,
        )
        if status != found.status:
            body: Object = {"metadata": {"uid": found.metadata.uid}, "status": msgspec.to_builtins(status)}
            await self._kube.patch(
                REPLICA_SETS, found.metadata.namespace, found.metadata.name, body, subresource="status"
            )


def _key(metadata: Metadata) -> Key:
    return metadata.namespace, metadata.name


def _still_to_wait(pod: Pod, now: datetime, least: timedelta) -> timedelta:
    """How long until the ready pod counts as available."""
    assert pod.ready_since is not None
    return pod.ready_since + least - now if least else timedelta()


def pod_of(found: ReplicaSet) -> Object:
    """A new pod of the set, as it is sent to the API."""
    metadata = found.spec.template.get("metadata") or {}
    return {
        "metadata": {
            "generateName": f"{found.metadata.name}-",
            "labels": metadata.get("labels") or {},
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [msgspec.to_builtins(found.metadata.reference(REPLICA_SETS))],
        },
        "spec": found.spec.template["spec"],
    }


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
