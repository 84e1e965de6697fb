"""A StatefulSet keeps pods with names of their own: NAME-0, NAME-1, ...; what goes comes back under its name.

kubernetes/kubernetes, pkg/controller/statefulset. A name is taken until its pod is quite gone, so here a pod
that is being deleted is waited for, and its deletion starts the next pass. A new template is rolled out from
the highest number down, one pod at a time.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from resync.kits.clocks import Clock
from resync.lab.controllers.keeping import Keeper
from resync.lab.controllers.objects import Pod, StatefulSet, StatefulSetStatus
from resync.lab.controllers.revisions import template_hash
from resync.lab.controllers.telling import Teller
from resync.lab.kube import PODS, STATEFUL_SETS, Change, Kube, NotFoundError, Object, Resource, key_of
from resync.lab.metadata import Metadata, metadata_of
from resync.lab.queueing import Key

REVISION_LABEL: Final = "controller-revision-hash"
NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"


class StatefulSets:
    """The controller of all of them."""

    def __init__(self, kube: Kube, teller: Teller, clock: Clock) -> None:
        self._kube = kube
        self._keeper = Keeper(kube, teller, clock, STATEFUL_SETS)
        self.queue = self._keeper.queue

    def see(self, resource: Resource, change: Change) -> None:
        """A set has changed, or a pod of one."""
        if resource == STATEFUL_SETS:
            self.queue.add(key_of(change.object))
        elif resource == PODS:
            pod = metadata_of(change.object)
            if pod.controller is not None and pod.controller.kind == STATEFUL_SETS.kind:
                self.queue.add((pod.namespace, pod.controller.name))

    async def reconcile(self, key: Key) -> None:
        """Make or delete pods, then say how many there are. Raises KubeError."""
        try:
            found = msgspec.convert(await self._kube.get(STATEFUL_SETS, *key), StatefulSet)
        except NotFoundError:
            self.queue.forget(key)
            return

        def is_member(pod: Metadata) -> bool:
            return index_of(found, pod.name) is not None

        owned = await self._keeper.pods(found.metadata, found.spec.selector_text, is_member)
        pods = {index: pod for pod in owned if (index := index_of(found, pod.metadata.name)) is not None}
        if not found.metadata.terminating:
            for pod in to_delete(found, pods):
                await self._keeper.delete(found.metadata, pod)
            for index in to_make(found, pods):
                await self._keeper.make(found.metadata, found.spec.template, _named(found, index))
        await self._report(found, pods)

    async def _report(self, found: StatefulSet, pods: Mapping[int, Pod]) -> None:
        active = [pod for pod in pods.values() if pod.active]
        ready = [pod for pod in active if pod.ready_since is not None]
        wanted = revision(found)
        updated = [pod for pod in active if _is_of(pod, wanted)]
        rolled_out = len(updated) == len(active) == found.spec.replicas
        status = StatefulSetStatus(
            replicas=len(active),
            ready_replicas=len(ready),
            available_replicas=self._keeper.available(found.metadata, ready, found.spec.min_ready_seconds),
            current_replicas=len(active) if rolled_out else len(active) - len(updated),
            updated_replicas=len(updated),
            current_revision=wanted if rolled_out else found.status.current_revision or wanted,
            update_revision=wanted,
            observed_generation=found.metadata.generation,
        )
        await self._keeper.report(found.metadata, status, found.status)


def index_of(found: StatefulSet, pod_name: str) -> int | None:
    """The number in the name of a pod that can be the set's; None for any other name."""
    parent, _, number = pod_name.rpartition("-")
    return int(number) if parent == found.metadata.name and number.isdecimal() else None


def revision(found: StatefulSet) -> str:
    """The name of the present template."""
    return f"{found.metadata.name}-{template_hash(found.spec.template)}"


def to_make(found: StatefulSet, pods: Mapping[int, Pod]) -> Iterator[int]:
    """The numbers of the pods to make now; OrderedReady: the first missing one, once all before it serve."""
    for index in range(found.spec.replicas):
        if index not in pods:
            yield index
        if found.ordered and (index not in pods or not _serves(pods[index])):
            return


def to_delete(found: StatefulSet, pods: Mapping[int, Pod]) -> Iterator[Pod]:
    """What has ended by itself, what is too many, and one pod of an old template while all others serve."""
    highest_first = sorted(pods.items(), reverse=True)
    there = [(index, pod) for index, pod in highest_first if not pod.metadata.terminating]
    yield from (pod for _, pod in there if not pod.active)
    condemned = [pod for index, pod in there if index >= found.spec.replicas and pod.active]
    yield from condemned[:1] if found.ordered else condemned
    if condemned or found.spec.update_strategy.type != "RollingUpdate":
        return
    wanted = revision(found)
    old = [pod for _, pod in there if not _is_of(pod, wanted)]
    rest = [pod for pod in pods.values() if pod not in old[:1]]
    if old and len(pods) == found.spec.replicas and all(map(_serves, rest)):
        yield old[0]


def _serves(pod: Pod) -> bool:
    return pod.active and pod.ready_since is not None


def _is_of(pod: Pod, wanted: str) -> bool:
    return pod.metadata.labels.get(REVISION_LABEL) == wanted


def _named(found: StatefulSet, index: int) -> Object:
    """Who the pod of that number is."""
    name = f"{found.metadata.name}-{index}"
    labels = {REVISION_LABEL: revision(found), NAME_LABEL: name, INDEX_LABEL: str(index)}
    return {"name": name, "labels": labels}
