"""Doing what a step of an experiment needs done, through the API or the node's daemon."""

from typing import Protocol, assert_never

from resync.lab.kube import PODS, Kube, KubeError
from resync.lab.mesh.objects import Record
from resync.lab.mesh.podnetworks import NetworkDaemon, PodNetworks
from resync.lab.mesh.records import (
    Commit,
    Committed,
    Decision,
    Deed,
    Delete,
    Fail,
    Kill,
    Outcome,
    Patch,
    arrived,
)
from resync.lab.node.errors import DaemonError


class Daemon(NetworkDaemon, Protocol):
    """Everything the mesh needs of a node."""

    async def kill_container(self, pod_uid: str, container: str) -> None:
        """Kill the container's process, as SIGKILL does. Raises DaemonError; nothing has happened then."""
        ...


class Hands:
    """Carries out decisions; what fails becomes an outcome, so that the record can tell."""

    def __init__(self, kube: Kube, networks: PodNetworks, daemon: Daemon, *, idle: bool = False) -> None:
        """`idle`: say of what is done to pods that it has been done, and do nothing: to test who notices."""
        self._idle = idle
        self._kube = kube
        self._networks = networks
        self._daemon = daemon

    async def carry_out(self, decision: Decision, record: Record, source: str) -> Outcome:
        """What came of it. `source` is the experiment's namespace and name."""
        if not isinstance(decision, Deed):
            return decision
        if self._idle and not isinstance(decision, Commit):
            return arrived(decision.operation)
        try:
            return await self._do(decision, source)
        except (KubeError, DaemonError) as error:
            return Fail(decision.operation, record.phase, str(error))

    async def _do(self, deed: Deed, source: str) -> Outcome:
        metadata = deed.pod.metadata
        match deed:
            case Commit():
                generation = await self._networks.commit(deed.pod, source, deed.share, resets=deed.resets)
                return Committed(deed.operation, generation)
            case Patch():
                await self._kube.patch(PODS, metadata.namespace, metadata.name, deed.body)
            case Delete():
                await self._kube.delete(PODS, metadata.namespace, metadata.name, grace_s=deed.grace_s)
            case Kill():
                await self._daemon.kill_container(metadata.uid, deed.container)
            case unknown:
                assert_never(unknown)
        return arrived(deed.operation)
