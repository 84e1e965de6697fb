"""A Deployment brings its pods from one template to the next, by way of one ReplicaSet per template.

kubernetes/kubernetes, pkg/controller/deployment. Every pass lists the sets anew and changes sizes at most
once; what follows from that (pods made, pods ready) is seen in the sets' status and starts the next pass.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from resync.kits.clocks import Clock
from resync.lab.controllers import progress, revisions
from resync.lab.controllers.objects import Deployment, Pod, ReplicaSet
from resync.lab.controllers.owning import claimed
from resync.lab.controllers.revisions import REVISION, Revisions, number_of
from resync.lab.controllers.rollouts import Leeway, Share, leeway, next_sizes
from resync.lab.controllers.telling import Teller
from resync.lab.kube import (
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    Change,
    Kube,
    NotFoundError,
    Object,
    Resource,
    key_of,
)
from resync.lab.metadata import metadata_of
from resync.lab.queueing import Key, WorkQueue

LOOK_AGAIN_S: Final = 0.2


class Deployments:
    """The controller of all of them."""

    def __init__(self, kube: Kube, teller: Teller, clock: Clock) -> None:
        self.queue = WorkQueue()
        self._kube = kube
        self._teller = teller
        self._clock = clock

    def see(self, resource: Resource, change: Change) -> None:
        """A deployment has changed, or a replica set of one."""
        if resource == DEPLOYMENTS:
            self.queue.add(key_of(change.object))
        elif resource == REPLICA_SETS:
            found = metadata_of(change.object)
            if found.controller is not None and found.controller.kind == DEPLOYMENTS.kind:
                self.queue.add((found.namespace, found.controller.name))

    async def reconcile(self, key: Key) -> None:
        """One step of the rollout, and the status. Raises KubeError."""
        try:
            found = msgspec.convert(await self._kube.get(DEPLOYMENTS, *key), Deployment)
        except NotFoundError:
            self.queue.forget(key)
            return
        spec = found.spec
        owned = await claimed(
            self._kube,
            REPLICA_SETS,
            ReplicaSet,
            owner=found.metadata,
            reference=found.metadata.reference(DEPLOYMENTS),
            labels=found.spec.selector_text,
        )
        sets = revisions.sorted_out(found, owned)
        rolling = spec.strategy.rolling_update
        allowed = leeway(spec.replicas, rolling.max_surge, rolling.max_unavailable)
        if not found.metadata.terminating:
            await self._roll(found, sets, allowed)
        await self._report(found, sets, allowed)

    async def _roll(self, found: Deployment, sets: Revisions, allowed: Leeway) -> None:
        if found.spec.paused:
            return
        if found.spec.strategy.type == "Recreate" and await self._old_pods_remain(found, sets):
            await self._resize(found, sets, {one.metadata.name: 0 for one in sets.old})
            return
        if sets.new is None:
            await self._begin(found, sets, allowed)
            return
        await self._number(found, sets)
        old = [_share(one) for one in sets.old]
        await self._resize(found, sets, next_sizes(found.spec.replicas, _share(sets.new), old, allowed))
        if progress.is_complete(found, found.status):
            await self._forget_oldest(found, sets)

    async def _old_pods_remain(self, found: Deployment, sets: Revisions) -> bool:
        if any(one.spec.replicas for one in sets.old):
            return True
        items, _ = await self._kube.list(PODS, found.metadata.namespace, found.spec.selector_text)
        old = {one.metadata.uid for one in sets.old}
        pods = [msgspec.convert(item, Pod).metadata.controller for item in items]
        waits = any(owner is not None and owner.uid in old for owner in pods)
        if waits:  # their end changes no replica set: nobody would tell
            self.queue.add_after((found.metadata.namespace, found.metadata.name), LOOK_AGAIN_S)
        return waits

    async def _begin(self, found: Deployment, sets: Revisions, allowed: Leeway) -> None:
        wanted = found.spec.replicas
        old = [_share(one) for one in sets.old]
        size = next_sizes(wanted, Share("", 0, 0), old, allowed).get("", 0)
        made = revisions.new_set(found, sets.next_number, size)
        await self._kube.create(REPLICA_SETS, found.metadata.namespace, made)
        await self._tell_scaled(found, made["metadata"]["name"], 0, size)

    async def _number(self, found: Deployment, sets: Revisions) -> None:
        """The present set has the highest number, and the deployment carries it."""
        assert sets.new is not None
        number = max(number_of(sets.new), sets.next_number)
        carried = {"metadata": {"annotations": {REVISION: str(number)}}}
        namespace = found.metadata.namespace
        if number_of(sets.new) != number:
            await self._kube.patch(REPLICA_SETS, namespace, sets.new.metadata.name, carried)
        if found.metadata.annotations.get(REVISION) != str(number):
            await self._kube.patch(DEPLOYMENTS, namespace, found.metadata.name, carried)

    async def _resize(self, found: Deployment, sets: Revisions, sizes: Mapping[str, int]) -> None:
        for one in sets.every:
            size = sizes.get(one.metadata.name, one.spec.replicas)
            if size != one.spec.replicas:
                body: Object = {"metadata": {"uid": one.metadata.uid}, "spec": {"replicas": size}}
                await self._kube.patch(REPLICA_SETS, found.metadata.namespace, one.metadata.name, body)
                await self._tell_scaled(found, one.metadata.name, one.spec.replicas, size)

    async def _tell_scaled(self, found: Deployment, name: str, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        message = f"Scaled {direction} replica set {name} from {before} to {after}"
        await self._teller.tell(found.metadata, DEPLOYMENTS, "ScalingReplicaSet", message)

    async def _forget_oldest(self, found: Deployment, sets: Revisions) -> None:
        empty = [one for one in sets.old if not one.spec.replicas and not one.status.replicas]
        for one in sorted(empty, key=number_of)[: max(len(empty) - found.spec.revision_history_limit, 0)]:
            await self._kube.delete(
                REPLICA_SETS, found.metadata.namespace, one.metadata.name, uid=one.metadata.uid
            )

    async def _report(self, found: Deployment, sets: Revisions, allowed: Leeway) -> None:
        now = datetime.fromtimestamp(int(self._clock.wall_s()), UTC)
        left = progress.deadline_left(found, now)
        if left is not None:
            self.queue.add_after((found.metadata.namespace, found.metadata.name), left.total_seconds() + 1)
        status = progress.status_of(found, sets, allowed, now)
        if status != found.status:
            body: Object = {"metadata": {"uid": found.metadata.uid}, "status": msgspec.to_builtins(status)}
            await self._kube.patch(
                DEPLOYMENTS, found.metadata.namespace, found.metadata.name, body, subresource="status"
            )


def _share(found: ReplicaSet) -> Share:
    return Share(found.metadata.name, found.spec.replicas, found.status.available_replicas)
