"""The lab's only node: every pod becomes a process of this machine, as kubelet would do it.

A client of the API like any other. It binds pods nobody has scheduled, runs those bound to it, and keeps
their status true. It may be restarted: pods that were running have lost their process with the old node
(the kernel saw to that), so they start again with one restart more and the same address.
"""

import asyncio
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from resync.kits.clocks import Clock
from resync.lab.kube import NODES, PODS, ConflictError, Kube, KubeError, NotFoundError, Object, Verb
from resync.lab.link import LinkPort
from resync.lab.metadata import stamp
from resync.lab.node import warden
from resync.lab.node.allocation import Addresses
from resync.lab.node.errors import NoLogError
from resync.lab.node.logs import PodLog
from resync.lab.node.logs import serving as logs_served
from resync.lab.node.objects import Pod
from resync.lab.node.processes import Processes
from resync.lab.node.worker import PodWorker, Surroundings

log = logging.getLogger(__name__)

MARK: Final = "RESYNC_NODE"
"""The variable every process of a pod carries, with a value of this node's life."""

END_GRACE_S: Final = 1.5
END_LIMIT_S: Final = 3.0


async def run_node(
    kubeconfig: Path,
    link: LinkPort,
    processes: Processes,
    *,
    clock: Clock,
    cidr: str,
    logs: Path,
    name: str = "lab",
    begun: MutableMapping[str, subprocess.Popen[bytes]] | None = None,
) -> None:
    """Run the node until cancelled; every pod's process has ended when it returns.

    `processes` is where the daemon finds what runs; `cidr` the lab's 127.A.0.0/16; `logs` an existing
    directory; `begun` first containers that somebody has started already, by their pods' keys, each with
    its words in the log that the node would give it. Run it on the main thread: the kernel ties the pods to
    it. Raises KubeconfigError when it cannot even begin.
    """
    outer = {**os.environ, MARK: secrets.token_hex(8)}
    async with (
        Kube.connect(kubeconfig) as kube,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
    ):
        host_ip = "127.0.0.1"
        around = Surroundings(
            kube, link, processes, clock, Addresses(cidr), session, logs, outer, host_ip, begun or {}
        )
        node = Node(around, name)
        async with _guarded(outer), logs_served(host_ip, node.log_of) as log_port:
            await _register(kube, name, host_ip, clock, log_port)
            await node.run()


class Node:
    """The workers of all pods bound here, by uid."""

    def __init__(self, around: Surroundings, name: str) -> None:
        self._around = around
        self._name = name
        self._workers: dict[str, PodWorker] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow the pods until cancelled, then end them all."""
        async with asyncio.TaskGroup() as tasks:
            try:
                async for change in self._around.kube.follow(PODS):
                    if change.verb is not Verb.SYNCED:
                        await self._take(change.verb, change.object, tasks)
            finally:
                await self._end_all()

    async def _take(self, verb: Verb, item: Object, tasks: asyncio.TaskGroup) -> None:
        try:
            pod = msgspec.convert(item, Pod)
        except msgspec.ValidationError as error:
            log.error("a pod this node cannot read: %s", error)  # noqa: TRY400  a user's mistake
            return
        worker = self._workers.get(pod.metadata.uid)
        if verb is Verb.DELETED:
            if worker is not None:
                worker.stop(0, gone=True)
        elif worker is not None:
            if pod.metadata.deletion_timestamp is not None:
                worker.stop(_grace_s(pod), gone=False)
            else:
                worker.update(pod)
        elif pod.spec.node_name == self._name:
            self._start(pod, tasks)
        elif not pod.spec.node_name:
            await self._bind(pod)

    def _start(self, pod: Pod, tasks: asyncio.TaskGroup) -> None:
        if pod.status.phase in ("Succeeded", "Failed") and pod.metadata.deletion_timestamp is None:
            return
        worker = PodWorker(pod, self._around)
        self._workers[pod.metadata.uid] = worker
        if pod.metadata.deletion_timestamp is not None:
            worker.stop(0, gone=False)
        task = tasks.create_task(worker.run(), name=f"pod {pod.key}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: self._workers.pop(pod.metadata.uid, None))

    async def _bind(self, pod: Pod) -> None:
        """Schedule the pod here; the watch brings it back bound."""
        binding: Object = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.metadata.name, "namespace": pod.metadata.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._name},
        }
        try:
            await self._around.kube.create(
                PODS, pod.metadata.namespace, binding, name=pod.metadata.name, subresource="binding"
            )
        except (ConflictError, NotFoundError):
            return
        except KubeError as error:
            log.warning("pod %s is not bound: %s", pod.key, error)

    def log_of(self, namespace: str, name: str) -> PodLog:
        """What the pod of that name has said; of several, the youngest. Raises NoLogError."""
        for worker in reversed(self._workers.values()):
            if worker.pod.key == f"{namespace}/{name}":
                return worker.log
        raise NoLogError("container")

    async def _end_all(self) -> None:
        for worker in self._workers.values():
            worker.stop(END_GRACE_S, gone=True)
        if self._running:
            await asyncio.wait(self._running, timeout=END_LIMIT_S)


def _grace_s(pod: Pod) -> float:
    given = pod.metadata.deletion_grace_period_seconds
    return float(given if given is not None else pod.spec.termination_grace_period_seconds)


async def _register(kube: Kube, name: str, host_ip: str, clock: Clock, log_port: int) -> None:
    """Make or refresh the Node object."""
    try:
        await kube.create(
            NODES, None, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}
        )
    except ConflictError:
        log.info("node %s is registered already", name)
    now = stamp(clock.wall_s())
    ready = {"type": "Ready", "status": "True", "reason": "NodeReady", "message": "the lab's node is running"}
    status = {
        "addresses": [{"type": "InternalIP", "address": host_ip}, {"type": "Hostname", "address": name}],
        "conditions": [{**ready, "lastHeartbeatTime": now, "lastTransitionTime": now}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": log_port}},
        "capacity": {"pods": "254"},
        "allocatable": {"pods": "254"},
    }
    await kube.patch(NODES, None, name, {"status": status}, subresource="status")


@asynccontextmanager
async def _guarded(outer: Mapping[str, str]) -> AsyncIterator[None]:
    """A warden holds the other end of a pipe of ours for as long as this lasts."""
    clean = {name: value for name, value in outer.items() if name != MARK}
    guard = subprocess.Popen(  # noqa: ASYNC220  a fork takes a millisecond, once
        [sys.executable, "-I", "-S", warden.__file__, f"{MARK}={outer[MARK]}"],
        stdin=subprocess.PIPE,
        env=clean,
        start_new_session=True,
    )
    assert guard.stdin is not None
    try:
        yield
    finally:
        guard.stdin.close()
        guard.wait(END_LIMIT_S)
