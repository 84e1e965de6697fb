"""One pod from its first address to its last byte of status.

    addresses -> link -> [ start -> run -> end -> pause ]* -> stop -> link closed -> deleted

The worker owns the process, the probe and the status of its pod; the agent only says "stop" and "it has
changed". A new image ends the container and starts it anew in place, whatever the restart policy says, and
back-off begins anew with it: a run must not feel the one before. Status is the latest truth, written when
it changes and again until the API has it; what lies between two writes may be skipped, never reordered.
"""

import asyncio
import logging
import signal
import subprocess
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import aiohttp

from resync.kits.clocks import Clock
from resync.lab import children
from resync.lab.kube import PODS, ConflictError, Kube, KubeError, NotFoundError
from resync.lab.link import Endpoints, LinkError, LinkPort
from resync.lab.metadata import ADDRESS
from resync.lab.node import containers
from resync.lab.node.allocation import Addresses, Pair
from resync.lab.node.backoff import RestartPause
from resync.lab.node.errors import NodeError
from resync.lab.node.logs import PodLog
from resync.lab.node.objects import Pod
from resync.lab.node.probing import watch_readiness
from resync.lab.node.processes import Processes
from resync.lab.node.statuses import Ended, Life, Running, State, Waiting, is_final, status_of

log = logging.getLogger(__name__)

GRACE_MAX_S: Final = 30.0
REPORT_RETRY_S: Final = 0.2
CONFIG_RETRY_S: Final = 0.5
_DELETE_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every worker of a node shares."""

    kube: Kube
    link: LinkPort
    processes: Processes
    clock: Clock
    addresses: Addresses
    session: aiohttp.ClientSession
    logs: Path
    outer_env: Mapping[str, str]
    host_ip: str
    begun: MutableMapping[str, subprocess.Popen[bytes]]
    """First containers that run already, by their pods' keys."""


class PodWorker:
    """Runs one pod until it is told to stop."""

    def __init__(self, pod: Pod, around: Surroundings) -> None:
        self.pod = pod
        self._around = around
        self.log = PodLog(around.logs / f"{pod.metadata.namespace}_{pod.metadata.name}.log")
        self._stop = asyncio.Event()
        self._kill = asyncio.Event()
        self._disturbed = asyncio.Event()
        self._grace_s = GRACE_MAX_S
        self._gone = False
        self._changed = asyncio.Event()
        restarts = max((status.restart_count for status in pod.status.container_statuses), default=-1) + 1
        self._life = Life(accepted_s=around.clock.wall_s(), restarts=restarts)

    def stop(self, grace_s: float, *, gone: bool) -> None:
        """End the pod: asked, then after `grace_s` killed. `gone`: the API has forgotten it already."""
        self._grace_s = min(self._grace_s, grace_s, GRACE_MAX_S)
        self._gone = self._gone or gone
        self._stop.set()
        self._disturbed.set()
        if self._grace_s <= 0:
            self._kill.set()

    def update(self, pod: Pod) -> None:
        """The pod's object has changed; of that only another image is news."""
        renewed = pod.container.image != self.pod.container.image
        self.pod = pod
        if renewed:
            self._disturbed.set()

    async def run(self) -> None:
        """The pod's whole life."""
        async with asyncio.TaskGroup() as tasks:
            reporter = tasks.create_task(self._report_changes(), name=f"status of {self.pod.key}")
            while not self._stop.is_set():
                await self._live_or_say_why()
            reporter.cancel()
        if not self._gone:
            await self._delete()

    async def _live_or_say_why(self) -> None:
        """Live; or say what stands in the way and rest, because it may be gone the next time."""
        self._take_notice()
        try:
            await self._live()
        except (NodeError, LinkError) as error:
            log.error("pod %s cannot run: %s", self.pod.key, error)  # noqa: TRY400  a user's mistake
            self._set(Waiting("CreateContainerConfigError", str(error)))
            await self._disturbed_within(CONFIG_RETRY_S)

    async def _disturbed_within(self, limit_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._disturbed.wait()

    async def _live(self) -> None:
        containers.check(self.pod)
        around, metadata = self._around, self.pod.metadata
        had, first = self.pod.status.pod_ip, metadata.annotations.get(ADDRESS, "")
        pair = around.addresses.take(metadata.uid, had or first, 0 if had else self.pod.index)
        self._life = replace(self._life, addresses=pair)
        ports = tuple(port.container_port for port in self.pod.container.ports)
        try:
            await around.link.open_pod(Endpoints(metadata.uid, pair.pod_ip, pair.bind_ip, ports))
            try:
                await self._restart_until_stopped(pair)
            finally:
                await around.link.close_pod(metadata.uid)
        finally:
            around.addresses.release(metadata.uid)

    async def _restart_until_stopped(self, pair: Pair) -> None:
        image, pause = "", RestartPause()
        while not self._stop.is_set():
            if image != self.pod.container.image:
                image, pause = self.pod.container.image, RestartPause()
            started_s = self._around.clock.monotonic_s()
            ended = await self._run_once(pair)
            self.log.finish()
            renewed = image != self.pod.container.image
            if not renewed and is_final(self.pod, ended.exit_code):
                self._set(ended)
                await self._stop.wait()
                return
            ran_s = self._around.clock.monotonic_s() - started_s
            await self._rest(ended, 0.0 if renewed else pause.after(ran_s))

    async def _rest(self, ended: Ended, pause_s: float) -> None:
        """Say that the container is down, and wait unless there is news; the next start is a restart."""
        self._set(_waiting(ended, pause_s), ended)
        await self._disturbed_within(pause_s)
        if not self._stop.is_set():
            self._life = replace(self._life, restarts=self._life.restarts + 1)

    def _take_notice(self) -> None:
        """What is the news now is known; only stopping stays news."""
        if not self._stop.is_set():
            self._disturbed.clear()

    async def _run_once(self, pair: Pair) -> Ended:
        """One life of the process."""
        self._take_notice()
        try:
            process = self._started(pair)
        except OSError as error:
            log.error("pod %s cannot start: %s", self.pod.key, error)  # noqa: TRY400  a user's mistake
            now_s = self._around.clock.wall_s()
            return Ended(containers.START_ERROR, now_s, now_s, str(error))
        with self._around.processes.running(self.pod.metadata.uid, self.pod.container.name, process):
            return await self._attend(process, pair)

    def _started(self, pair: Pair) -> subprocess.Popen[bytes]:
        begun = self._around.begun.pop(self.pod.key, None)
        if begun is not None:
            self.log.begin(at=0)
            return begun
        env = containers.environment(self.pod, pair, self._around.outer_env)
        self.log.begin()
        return containers.start(self.pod, env, self.log.path)

    async def _attend(self, process: subprocess.Popen[bytes], pair: Pair) -> Ended:
        started_s = self._around.clock.wall_s()
        self._set(Running(started_s))
        try:
            async with asyncio.TaskGroup() as tasks:
                probe = watch_readiness(self._around.session, self.pod, pair.bind_ip, self._set_ready)
                watching = tasks.create_task(probe, name=f"readiness of {self.pod.key}")
                stopping = tasks.create_task(self._end_when_disturbed(process), name=f"end of {self.pod.key}")
                returncode = await children.ended(process)
                watching.cancel()
                stopping.cancel()
        finally:
            # Whatever the program left running, and the program itself when this task was cancelled.
            containers.send(process, signal.SIGKILL)
            if process.poll() is None:
                process.wait()
        return Ended(containers.exit_code_of(returncode), started_s, self._around.clock.wall_s())

    async def _end_when_disturbed(self, process: subprocess.Popen[bytes]) -> None:
        await self._disturbed.wait()
        own_s = float(self.pod.spec.termination_grace_period_seconds)
        grace_s = self._grace_s if self._stop.is_set() else min(own_s, GRACE_MAX_S)
        if grace_s > 0:
            containers.send(process, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._kill.wait()
        containers.send(process, signal.SIGKILL)

    def _set(self, state: State, last: Ended | None = None) -> None:
        self._life = replace(self._life, state=state, last=last or self._life.last)
        self._set_ready(False)

    def _set_ready(self, ready: bool) -> None:  # noqa: FBT001  the argument is the news itself
        if ready != self._life.ready:
            self._life = replace(self._life, ready=ready, ready_changed_s=self._around.clock.wall_s())
        self._changed.set()

    async def _report_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._report()
            except NotFoundError:
                continue
            except KubeError as error:
                log.warning("status of pod %s: %s", self.pod.key, error)
                await asyncio.sleep(REPORT_RETRY_S)
                self._changed.set()

    async def _report(self) -> None:
        metadata = self.pod.metadata
        status = status_of(self.pod, self._life, self._around.host_ip)
        body = {"metadata": {"uid": metadata.uid}, "status": status}
        await self._around.kube.patch(PODS, metadata.namespace, metadata.name, body, subresource="status")

    async def _delete(self) -> None:
        """The last word: the pod's process is gone, the API may forget the pod."""
        metadata = self.pod.metadata
        for _ in range(_DELETE_ATTEMPTS):
            try:
                await self._around.kube.delete(
                    PODS, metadata.namespace, metadata.name, uid=metadata.uid, grace_s=0
                )
            except (NotFoundError, ConflictError):
                return
            except KubeError as error:
                log.warning("pod %s is not deleted yet: %s", self.pod.key, error)
                await asyncio.sleep(REPORT_RETRY_S)
            else:
                return


def _waiting(ended: Ended, pause_s: float) -> Waiting:
    """What kubelet says while the container is down."""
    if ended.start_error:
        return Waiting("RunContainerError", ended.start_error)
    if pause_s:
        return Waiting("CrashLoopBackOff", f"back-off {pause_s:g}s restarting failed container")
    return Waiting("ContainerCreating")
