"""What every controller of pods does with them: takes them in, makes, deletes, counts and reports them."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from resync.kits.clocks import Clock
from resync.lab.controllers.objects import Pod
from resync.lab.controllers.owning import claimed
from resync.lab.controllers.telling import WARNING, Teller
from resync.lab.kube import PODS, Kube, Object, RefusedError, Resource
from resync.lab.metadata import Metadata
from resync.lab.queueing import Key, WorkQueue

_ENDING: Final = "because it is being terminated"
"""How a refusal to create in a namespace that is going ends (kubernetes/apiserver, namespace lifecycle)."""


class Keeper:
    """The hands of the controller of one kind."""

    def __init__(self, kube: Kube, teller: Teller, clock: Clock, resource: Resource) -> None:
        self.queue = WorkQueue()
        self._kube = kube
        self._teller = teller
        self._clock = clock
        self._resource = resource

    async def pods(
        self, owner: Metadata, labels: str, fits: Callable[[Metadata], bool] = lambda _: True
    ) -> list[Pod]:
        """The owner's pods, strays that fit taken in. Raises KubeError."""
        reference = owner.reference(self._resource)
        return await claimed(
            self._kube, PODS, Pod, owner=owner, reference=reference, labels=labels, fits=fits
        )

    async def make(self, owner: Metadata, template: Object, named: Object) -> None:
        """Create a pod of the template; `named` is its name, and labels of its own. Raises KubeError."""
        try:
            made = await self._kube.create(PODS, owner.namespace, self._pod_of(owner, template, named))
        except RefusedError as error:
            if _ENDING not in str(error):  # the owner itself goes in a moment
                await self._tell(owner, "FailedCreate", f"Error creating: {error}", WARNING)
            raise
        await self._tell(owner, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    def _pod_of(self, owner: Metadata, template: Object, named: Object) -> Object:
        metadata = template.get("metadata") or {}
        return {
            "metadata": {
                **named,
                "labels": {**(metadata.get("labels") or {}), **named.get("labels", {})},
                "annotations": metadata.get("annotations") or {},
                "ownerReferences": [msgspec.to_builtins(owner.reference(self._resource))],
            },
            "spec": template["spec"],
        }

    async def delete(self, owner: Metadata, pod: Pod) -> None:
        """Delete that pod and no other of its name. Raises KubeError."""
        await self._kube.delete(PODS, pod.metadata.namespace, pod.metadata.name, uid=pod.metadata.uid)
        await self._tell(owner, "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

    async def _tell(self, owner: Metadata, reason: str, message: str, *kind: str) -> None:
        await self._teller.tell(owner, self._resource, reason, message, *kind)

    def available(self, owner: Metadata, ready: Iterable[Pod], min_ready_s: int) -> int:
        """How many of these have been ready for so long; the next pass comes when another one has."""
        pods, least = list(ready), timedelta(seconds=min_ready_s)
        now = datetime.fromtimestamp(self._clock.wall_s(), UTC)
        waits = [left for pod in pods if (left := _still_to_wait(pod, now, least)) > timedelta()]
        if waits:
            self.queue.add_after(key(owner), min(waits).total_seconds())
        return len(pods) - len(waits)

    async def report(self, owner: Metadata, status: msgspec.Struct, before: msgspec.Struct) -> None:
        """Write the status, unless it is as before. Raises KubeError."""
        if status != before:
            body: Object = {"metadata": {"uid": owner.uid}, "status": msgspec.to_builtins(status)}
            await self._kube.patch(self._resource, owner.namespace, owner.name, body, subresource="status")


def key(metadata: Metadata) -> Key:
    """Where a queue has the object."""
    return metadata.namespace, metadata.name


def _still_to_wait(pod: Pod, now: datetime, least: timedelta) -> timedelta:
    """How long until the ready pod counts as available."""
    assert pod.ready_since is not None
    return pod.ready_since + least - now if least else timedelta()
