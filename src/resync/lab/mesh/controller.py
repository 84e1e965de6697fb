"""The mesh's shell: watches, one queue per kind, and the writes the pure steps ask for.

Everything the mesh knows is in the objects, so it may be restarted at any time: it lists, and goes on where
the records are. A pass reads its experiment afresh and writes with the version it read; whoever wrote in
between makes it start over (409), and a pass that failed is tried again with a growing pause, as
controller-runtime does.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Generic, TypeVar

import msgspec

from resync.kits.clocks import Clock
from resync.lab.kube import (
    NAMESPACES,
    POD_NETWORK_CHAOS,
    PODS,
    ConflictError,
    Kube,
    KubeError,
    NotFoundError,
    Object,
    Resource,
    Verb,
    key_of,
)
from resync.lab.mesh import notices, pipeline, records
from resync.lab.mesh.deeds import Daemon, Hands
from resync.lab.mesh.errors import MeshError
from resync.lab.mesh.kinds import NETWORK, POD, C, Kind
from resync.lab.mesh.networks import NetworkChaos, PodNetworkChaos
from resync.lab.mesh.objects import Namespace, Pod, Record
from resync.lab.mesh.pipeline import Write
from resync.lab.mesh.podnetworks import PodNetworks
from resync.lab.mesh.records import Outcome, World
from resync.lab.mesh.telling import Teller
from resync.lab.metadata import Metadata, stamp
from resync.lab.queueing import Key, WorkQueue

log = logging.getLogger(__name__)

WRITE_ATTEMPTS = 10

T = TypeVar("T", bound=msgspec.Struct)


async def run_mesh(kubeconfig: Path, daemon: Daemon, *, clock: Clock, seed: int, idle: bool = False) -> None:
    """Run the mesh until cancelled. Raises KubeconfigError when it cannot even begin.

    `seed` decides what the modes `one`, `fixed`, `fixed-percent` and `random-max-percent` draw. `idle`: no
    pod is killed or made to fail, whatever is reported.
    """
    async with Kube.connect(kubeconfig) as kube, asyncio.TaskGroup() as tasks:
        networks = PodNetworks(kube, daemon)
        hands = Hands(kube, networks, daemon, idle=idle)
        teller = Teller(kube, clock)
        dice = Random(seed)
        on_networks = Controller(NETWORK, kube, hands, teller, clock=clock, dice=dice)
        on_pods = Controller(POD, kube, hands, teller, clock=clock, dice=dice)
        tasks.create_task(on_networks.watch(), name="mesh: watch NetworkChaos")
        tasks.create_task(on_networks.work(), name="mesh: NetworkChaos")
        tasks.create_task(on_pods.watch(), name="mesh: watch PodChaos")
        tasks.create_task(on_pods.work(), name="mesh: PodChaos")
        tasks.create_task(_watch_networks(kube, networks, on_networks), name="mesh: watch PodNetworkChaos")
        tasks.create_task(_watch_pods(kube, networks), name="mesh: watch pods")
        tasks.create_task(networks.work(), name="mesh: PodNetworkChaos")
        tasks.create_task(teller.work(), name="mesh: events")


async def _watch_networks(kube: Kube, networks: PodNetworks, waiting: "Controller[NetworkChaos]") -> None:
    """Queue a pod's network object that changed, and the experiments that wait for it."""
    async for change in kube.follow(POD_NETWORK_CHAOS):
        if change.verb is not Verb.SYNCED:
            key = key_of(change.object)
            networks.queue.add(key)
            waiting.wake("/".join(key))


async def _watch_pods(kube: Kube, networks: PodNetworks) -> None:
    """Clean up after pods that go."""
    async for change in kube.follow(PODS):
        if change.verb is Verb.DELETED:
            gone = msgspec.convert(change.object["metadata"], Metadata)
            try:
                await networks.collect(gone)
            except KubeError as error:
                log.warning("the network object of pod %s stays: %s", gone.key, error)


class Controller(Generic[C]):
    """The controller of one kind of experiment."""

    def __init__(
        self, kind: Kind[C], kube: Kube, hands: Hands, teller: Teller, *, clock: Clock, dice: Random
    ) -> None:
        self._kind = kind
        self._kube = kube
        self._hands = hands
        self._teller = teller
        self._clock = clock
        self._dice = dice
        self._queue = WorkQueue()
        self._waits_for: dict[Key, frozenset[str]] = {}

    async def watch(self) -> None:
        """Queue every experiment that appears or changes.

        A failure noted in the records is no change: it would be tried again at once, without a pause.
        """
        seen: dict[Key, Object] = {}
        async for change in self._kube.follow(self._kind.resource):
            if change.verb is Verb.PRESENT:
                key, news = key_of(change.object), _without_events(change.object)
                self._waits_for[key] = frozenset((change.object.get("status") or {}).get("instances") or {})
                if seen.get(key) != news:
                    seen[key] = news
                    self._queue.add(key)
            elif change.verb is Verb.DELETED:
                seen.pop(key_of(change.object), None)
                self._waits_for.pop(key_of(change.object), None)

    def wake(self, pod: str) -> None:
        """Queue the experiments that wait for this pod's network object."""
        for experiment, pods in self._waits_for.items():
            if pod in pods:
                self._queue.add(experiment)

    async def work(self) -> None:
        """One pass after the other, until cancelled."""
        while True:
            key = await self._queue.get()
            try:
                retry = await self._pass(key)
            except ConflictError:
                retry = True
            except (KubeError, msgspec.ValidationError) as error:
                log.warning("%s %s/%s: %s", self._kind.resource.kind, *key, error)
                retry = True
            if retry:
                self._queue.failed(key)
            else:
                self._queue.succeeded(key)

    async def _pass(self, key: Key) -> bool:
        """Every step once. Returns whether it must be tried again."""
        try:
            chaos = msgspec.convert(await self._kube.get(self._kind.resource, *key), self._kind.form)
        except NotFoundError:
            self._queue.forget(key)
            return False
        for step in pipeline.BEFORE_RECORDS:
            chaos = await self._write(chaos, step(chaos, self._clock.wall_s()))
        chaos, retry = await self._records(chaos)
        if retry:
            return (
                True  # and nobody looks at the duration before the pause is over, as in the real controller
            )
        remaining_s = pipeline.remaining_s(chaos, self._clock.wall_s())
        if remaining_s:
            self._queue.add_after(key, remaining_s)
        await self._write(chaos, pipeline.clean(chaos, self._clock.wall_s()))
        return False

    async def _write(self, chaos: C, write: Write | None) -> C:
        if write is None:
            return chaos
        resource, about = self._kind.resource, chaos.metadata
        self._teller.tell(about, resource, write.before)
        metadata = {"resourceVersion": about.resource_version, **write.patch.get("metadata", {})}
        body: Object = {**write.patch, "metadata": metadata}
        written = await self._kube.patch(resource, about.namespace, about.name, body)
        self._teller.tell(about, resource, write.after)
        return msgspec.convert(written, self._kind.form)

    async def _write_done(self, chaos: C, write: Write | None) -> C:
        """Write what has been done to pods already, over whatever somebody else wrote meanwhile.

        Were it lost, a deletion that came in between would find targets on which nothing was ever done, and
        let the experiment go with its fault in place (the real controller retries this update, too).
        """
        for _ in range(WRITE_ATTEMPTS):
            try:
                return await self._write(chaos, write)
            except ConflictError:
                found = await self._kube.get(self._kind.resource, *_place(chaos.metadata))
                chaos = msgspec.convert(found, self._kind.form)
        raise ConflictError(f"the records of {chaos.metadata.key} are being written by somebody else")

    async def _records(self, chaos: C) -> tuple[C, bool]:
        world = await self._look_around()
        found = chaos.records
        try:
            if found is None:
                found = self._kind.select(chaos, world, self._dice)
        except MeshError as error:
            notice = notices.failed("select targets", str(error))
            self._teller.tell(chaos.metadata, self._kind.resource, (notice,))
            return chaos, False
        selected = _with_records(chaos, found)
        outcomes = [await self._next(selected, record, world) for record in found]
        now = stamp(self._clock.wall_s())
        written = await self._write_done(chaos, records.write(chaos, found, outcomes, now))
        return written, records.needs_retry(outcomes)

    async def _next(self, chaos: C, record: Record, world: World) -> Outcome:
        operation = records.operation_of(record, chaos.status.experiment.desired_phase)
        if operation is None:
            return records.Stay()
        decision = self._kind.step(chaos, record, world, operation)
        return await self._hands.carry_out(decision, record, chaos.metadata.key)

    async def _look_around(self) -> World:
        pods = await self._all(PODS, Pod)
        networks = await self._all(POD_NETWORK_CHAOS, PodNetworkChaos)
        namespaces = await self._all(NAMESPACES, Namespace)
        return World(
            pods={pod.metadata.key: pod for pod in pods},
            networks={network.metadata.key: network for network in networks},
            opted_in=frozenset(space.metadata.name for space in namespaces if space.opted_in),
        )

    async def _all(self, resource: Resource, kind: type[T]) -> Sequence[T]:
        items, _ = await self._kube.list(resource)
        return [msgspec.convert(item, kind) for item in items]


def _place(about: Metadata) -> Key:
    return about.namespace, about.name


def _with_records(chaos: C, found: tuple[Record, ...]) -> C:
    """The experiment as it will be once the selection is written: peers are looked up in its records."""
    experiment = msgspec.structs.replace(chaos.status.experiment, container_records=found)
    status = msgspec.structs.replace(chaos.status, experiment=experiment)
    return msgspec.structs.replace(chaos, status=status)


def _without_events(item: Object) -> Object:
    """The object as far as a change of it asks for a pass (`controllers/common`, its update predicate)."""
    metadata = {
        word: value
        for word, value in item["metadata"].items()
        if word not in ("resourceVersion", "generation", "managedFields")
    }
    status = item.get("status") or {}
    experiment = status.get("experiment") or {}
    records = [{**record, "events": None} for record in experiment.get("containerRecords") or []]
    quiet = {**status, "experiment": {**experiment, "containerRecords": records}}
    return {**item, "metadata": metadata, "status": quiet}
