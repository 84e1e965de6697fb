"""The mesh's shell: watches, one queue per kind, and the writes the pure steps ask for.

Everything the mesh knows is in the objects, so it may be restarted at any time: it lists, and goes on where
the records are. A pass reads its experiment afresh and writes with the version it read; whoever wrote in
between makes it start over (409), and a pass that failed is tried again with a growing pause, as
controller-runtime does.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec

from resync.kits.clocks import Clock
from resync.lab.kube import (
    NAMESPACES,
    NETWORK_CHAOS,
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
from resync.lab.mesh.errors import MeshError
from resync.lab.mesh.objects import Metadata, Namespace, NetworkChaos, Pod, PodNetworkChaos, Record
from resync.lab.mesh.pipeline import Write
from resync.lab.mesh.podnetworks import NetworkDaemon, PodNetworks
from resync.lab.mesh.queueing import Key, WorkQueue
from resync.lab.mesh.records import Commit, Committed, Fail, Outcome, World
from resync.lab.mesh.telling import Teller

log = logging.getLogger(__name__)

T = TypeVar("T", bound=msgspec.Struct)


async def run_mesh(kubeconfig: Path, daemon: NetworkDaemon, *, clock: Clock, seed: int) -> None:
    """Run the mesh until cancelled. Raises KubeconfigError when it cannot even begin.

    `seed` decides what the modes `one`, `fixed`, `fixed-percent` and `random-max-percent` draw.
    """
    async with Kube.connect(kubeconfig) as kube, asyncio.TaskGroup() as tasks:
        networks = PodNetworks(kube, daemon)
        teller = Teller(kube, clock)
        mesh = Mesh(kube, networks, teller, clock=clock, dice=Random(seed))
        tasks.create_task(mesh.watch_experiments(), name="mesh: watch NetworkChaos")
        tasks.create_task(mesh.watch_networks(), name="mesh: watch PodNetworkChaos")
        tasks.create_task(mesh.watch_pods(), name="mesh: watch pods")
        tasks.create_task(mesh.work(), name="mesh: NetworkChaos")
        tasks.create_task(networks.work(), name="mesh: PodNetworkChaos")
        tasks.create_task(teller.work(), name="mesh: events")


class Mesh:
    """The controller of NetworkChaos."""

    def __init__(
        self, kube: Kube, networks: PodNetworks, teller: Teller, *, clock: Clock, dice: Random
    ) -> None:
        self._kube = kube
        self._networks = networks
        self._teller = teller
        self._clock = clock
        self._dice = dice
        self._queue = WorkQueue()
        self._waits_for: dict[Key, frozenset[str]] = {}

    async def watch_experiments(self) -> None:
        """Queue every experiment that appears or changes."""
        async for change in self._kube.follow(NETWORK_CHAOS):
            if change.verb is Verb.PRESENT:
                key = key_of(change.object)
                self._waits_for[key] = frozenset((change.object.get("status") or {}).get("instances") or {})
                self._queue.add(key)
            elif change.verb is Verb.DELETED:
                self._waits_for.pop(key_of(change.object), None)

    async def watch_networks(self) -> None:
        """Queue a pod's network object that changed, and the experiments that wait for it."""
        async for change in self._kube.follow(POD_NETWORK_CHAOS):
            if change.verb is Verb.SYNCED:
                continue
            key = key_of(change.object)
            self._networks.queue.add(key)
            for experiment, pods in self._waits_for.items():
                if "/".join(key) in pods:
                    self._queue.add(experiment)

    async def watch_pods(self) -> None:
        """Clean up after pods that go."""
        async for change in self._kube.follow(PODS):
            if change.verb is Verb.DELETED:
                gone = msgspec.convert(change.object["metadata"], Metadata)
                try:
                    await self._networks.collect(gone)
                except KubeError as error:
                    log.warning("the network object of pod %s stays: %s", gone.key, error)

    async def work(self) -> None:
        """One pass after the other, until cancelled."""
        while True:
            key = await self._queue.get()
            try:
                retry = await self._pass(key)
            except ConflictError:
                retry = True
            except (KubeError, msgspec.ValidationError) as error:
                log.warning("NetworkChaos %s/%s: %s", *key, error)
                retry = True
            if retry:
                self._queue.failed(key)
            else:
                self._queue.succeeded(key)

    async def _pass(self, key: Key) -> bool:
        """Every step once. Returns whether it must be tried again."""
        try:
            chaos = msgspec.convert(await self._kube.get(NETWORK_CHAOS, *key), NetworkChaos)
        except NotFoundError:
            self._queue.forget(key)
            return False
        for step in pipeline.BEFORE_RECORDS:
            chaos = await self._write(chaos, step(chaos, self._clock.wall_s()))
        chaos, retry = await self._records(chaos)
        remaining_s = pipeline.remaining_s(chaos, self._clock.wall_s())
        if remaining_s:
            self._queue.add_after(key, remaining_s)
        if not retry:
            await self._write(chaos, pipeline.clean(chaos, self._clock.wall_s()))
        return retry

    async def _write(self, chaos: NetworkChaos, write: Write | None) -> NetworkChaos:
        if write is None:
            return chaos
        self._teller.tell(chaos.metadata, NETWORK_CHAOS, write.before)
        metadata = {"resourceVersion": chaos.metadata.resource_version, **write.patch.get("metadata", {})}
        body: Object = {**write.patch, "metadata": metadata}
        written = await self._kube.patch(NETWORK_CHAOS, chaos.metadata.namespace, chaos.metadata.name, body)
        self._teller.tell(chaos.metadata, NETWORK_CHAOS, write.after)
        return msgspec.convert(written, NetworkChaos)

    async def _records(self, chaos: NetworkChaos) -> tuple[NetworkChaos, bool]:
        world = await self._look_around()
        try:
            found = chaos.records if chaos.records is not None else records.select(chaos, world, self._dice)
        except MeshError as error:
            self._teller.tell(chaos.metadata, NETWORK_CHAOS, (notices.failed("select targets", str(error)),))
            return chaos, False
        selected = _with_records(chaos, found)
        outcomes = [await self._carry_out(selected, record, world) for record in found]
        stamp = datetime.fromtimestamp(self._clock.wall_s(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        written = await self._write(chaos, records.write(chaos, found, outcomes, stamp))
        return written, records.needs_retry(outcomes)

    async def _carry_out(self, chaos: NetworkChaos, record: Record, world: World) -> Outcome:
        decision = records.decide(chaos, record, world)
        if not isinstance(decision, Commit):
            return decision
        source = chaos.metadata.key
        try:
            generation = await self._networks.commit(world.pods[record.id], source, decision.share)
        except KubeError as error:
            return Fail(decision.operation, record.phase, str(error))
        return Committed(decision.operation, generation)

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


def _with_records(chaos: NetworkChaos, found: tuple[Record, ...]) -> NetworkChaos:
    """The experiment as it will be once the selection is written: peers are looked up in its records."""
    experiment = msgspec.structs.replace(chaos.status.experiment, container_records=found)
    status = msgspec.structs.replace(chaos.status, experiment=experiment)
    return msgspec.structs.replace(chaos, status=status)
