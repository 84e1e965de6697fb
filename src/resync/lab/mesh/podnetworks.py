"""The per-pod objects between experiments and node: written by experiments, carried out here.

Several experiments may want something of one pod's network; each owns its share of the pod's
PodNetworkChaos, named by `source`, and the node is always sent the whole (chaos-mesh
`controllers/podnetworkchaos/controller.go`).

The daemon forgets when it restarts, so a generation counts as carried out only if *this* life of the mesh
sent it.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

import msgspec

from resync.lab.kube import (
    POD_NETWORK_CHAOS,
    PODS,
    ConflictError,
    Kube,
    KubeError,
    NotFoundError,
    Object,
)
from resync.lab.mesh.errors import SpecError
from resync.lab.mesh.networks import RESET_SOURCES, PodNetworkChaos, PodNetworkSpec
from resync.lab.mesh.objects import Pod, plain
from resync.lab.mesh.requests import merged, request
from resync.lab.metadata import Metadata, OwnerReference
from resync.lab.node.errors import DaemonError, NoSuchPodError
from resync.lab.node.vocabulary import Chain, IPSet, Tc
from resync.lab.queueing import Key, WorkQueue

log = logging.getLogger(__name__)

COMMIT_ATTEMPTS = 5


class NetworkDaemon(Protocol):
    """What the mesh needs of a node."""

    async def set_network(
        self, pod_uid: str, ipsets: Sequence[IPSet], chains: Sequence[Chain], tcs: Sequence[Tc]
    ) -> None:
        """Make this the whole state of the pod's network faults.

        Raises DaemonError; nothing has changed then.
        """
        ...


class PodNetworks:
    """Reads, writes and carries out PodNetworkChaos objects."""

    def __init__(self, kube: Kube, daemon: NetworkDaemon) -> None:
        self.queue = WorkQueue()
        self._kube = kube
        self._daemon = daemon
        self._sent: dict[Key, tuple[str, int]] = {}

    async def commit(
        self, pod: Pod, source: str, share: PodNetworkSpec | None, *, resets: bool = False
    ) -> int:
        """Put `source`'s share of the pod in place (None: take it out); the generation that holds it.

        `resets`: what this share cuts is to be reset, too.

        Raises KubeError when the API does not take it, ConflictError after too many writers in a row.
        """
        for _ in range(COMMIT_ATTEMPTS):
            try:
                return await self._commit_once(pod, source, share, resets=resets)
            except ConflictError:
                continue
        raise ConflictError(f"the network object of pod {pod.metadata.key} is being written by somebody else")

    async def work(self) -> None:
        """Carry out what is queued, one at a time, until cancelled."""
        while True:
            key = await self.queue.get()
            try:
                await self._carry_out(key)
            except KubeError as error:
                log.warning("PodNetworkChaos %s/%s: %s", *key, error)
                self.queue.failed(key)

    async def collect(self, pod: Metadata) -> None:
        """Remove the network object of a pod that is gone, as the garbage collector would."""
        key = (pod.namespace, pod.name)
        self._sent.pop(key, None)
        try:
            found = await self._read(key)
            if any(owner.uid == pod.uid for owner in found.metadata.owner_references):
                await self._kube.delete(POD_NETWORK_CHAOS, *key, uid=found.metadata.uid)
        except (NotFoundError, ConflictError):
            return

    async def _read(self, key: Key) -> PodNetworkChaos:
        return msgspec.convert(await self._kube.get(POD_NETWORK_CHAOS, *key), PodNetworkChaos)

    async def _commit_once(self, pod: Pod, source: str, share: PodNetworkSpec | None, *, resets: bool) -> int:
        key = (pod.metadata.namespace, pod.metadata.name)
        try:
            found = await self._read(key)
        except NotFoundError:
            annotations = {RESET_SOURCES: source} if resets else {}
            return await self._make(pod, merged(PodNetworkSpec(), source, share), annotations)
        spec = merged(found.spec, source, share)
        if spec == found.spec:
            return found.metadata.generation
        whole = plain(spec)
        resetting = (_resetting(found) - {source}) | ({source} if resets else set())
        body: Object = {
            "metadata": {
                "resourceVersion": found.metadata.resource_version,
                "annotations": {RESET_SOURCES: " ".join(sorted(resetting)) or None},
            },
            "spec": {name: whole.get(name) for name in ("ipsets", "iptables", "tcs")},
        }
        written = await self._kube.patch(POD_NETWORK_CHAOS, *key, body)
        return msgspec.convert(written, PodNetworkChaos).metadata.generation

    async def _make(self, pod: Pod, spec: PodNetworkSpec, annotations: dict[str, str]) -> int:
        owner = OwnerReference(
            api_version=PODS.api_version, kind=PODS.kind, name=pod.metadata.name, uid=pod.metadata.uid
        )
        body: Object = {
            "metadata": {
                "name": pod.metadata.name,
                "namespace": pod.metadata.namespace,
                "annotations": annotations,
                "ownerReferences": [plain(owner)],
            },
            "spec": plain(spec),
        }
        made = await self._kube.create(POD_NETWORK_CHAOS, pod.metadata.namespace, body)
        return msgspec.convert(made, PodNetworkChaos).metadata.generation

    async def _carry_out(self, key: Key) -> None:
        try:
            network = await self._read(key)
        except NotFoundError:
            self.queue.forget(key)
            return
        owner = next((owner.uid for owner in network.metadata.owner_references if owner.kind == "Pod"), "")
        generation = network.metadata.generation
        if self._sent.get(key) == (owner, generation) and not network.status.failed_message:
            return
        if not await self._still_there(key, owner):
            await self.collect(Metadata(name=key[1], namespace=key[0], uid=owner))
            return
        failure = await self._send(key, owner, network)
        if not failure:
            self._sent[key] = (owner, generation)
        await self._report(key, generation, failure)
        if failure:
            self.queue.failed(key)
        else:
            self.queue.succeeded(key)

    async def _still_there(self, key: Key, uid: str) -> bool:
        try:
            pod = msgspec.convert(await self._kube.get(PODS, *key), Pod)
        except NotFoundError:
            return False
        return pod.metadata.uid == uid

    async def _send(self, key: Key, uid: str, network: PodNetworkChaos) -> str:
        """Empty when the node did it, else why not, in the real controller's words."""
        failed = f"failed to apply for pod {key[0]}/{key[1]}"
        try:
            await self._daemon.set_network(uid, *request(network.spec, _resetting(network)))
        except NoSuchPodError as error:
            return f"{failed}: unable to flush ip sets for pod {key[1]}: {error}"
        except (DaemonError, SpecError) as error:
            return f"{failed}: unable to set tcs for pod {key[1]}: {error}"
        return ""

    async def _report(self, key: Key, generation: int, failure: str) -> None:
        status = {"observedGeneration": generation, "failedMessage": failure or None}
        try:
            await self._kube.patch(POD_NETWORK_CHAOS, *key, {"status": status}, subresource="status")
        except NotFoundError:
            return


def _resetting(network: PodNetworkChaos) -> frozenset[str]:
    """The sources whose partition resets."""
    return frozenset(network.metadata.annotations.get(RESET_SOURCES, "").split())
