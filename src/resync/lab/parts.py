"""The parts of a lab: API, link, node, mesh, controllers, and the pods; from nothing to ready."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from resync.kits.clocks import SystemClock
from resync.kits.waits import wait_until_async
from resync.lab import children, installing, readiness
from resync.lab.addresses import Block
from resync.lab.controllers import run_controllers
from resync.lab.errors import LabError, LabStartError
from resync.lab.kube import Kube
from resync.lab.link import Link
from resync.lab.manifests import GATEWAY, LabOptions, PodPlan
from resync.lab.mesh import run_mesh
from resync.lab.node import NodeDaemon, Processes, run_node
from resync.lab.workspace import Workspace

API_TIMEOUT_S = 15.0
API_STOP_TIMEOUT_S = 1.0


@asynccontextmanager
async def running(
    options: LabOptions,
    workspace: Workspace,
    block: Block,
    begun: MutableMapping[str, subprocess.Popen[bytes]],
) -> AsyncIterator[Kube]:
    """The Kubernetes API with an open namespace, and link, node, mesh and controllers at work on it.

    `begun` are processes that the node takes over, by the keys of their pods.

    Raises:
        LabStartError: a part did not come up.
        ExceptionGroup: a part ended that a lab cannot be without; LabError says which.
    """
    process = _launch_api(workspace)
    try:
        await _api_answers(process, workspace)
        async with (
            Kube.connect(workspace.kubeconfig) as kube,
            Link(seed=options.seed, deaf=options.deaf_link) as link,
            asyncio.TaskGroup() as tasks,
        ):
            await installing.install_kinds(kube)
            await installing.open_namespace(kube)
            processes = Processes()
            lasting = [
                tasks.create_task(_must_live(process, workspace), name="the API process"),
                tasks.create_task(_node(workspace, link, processes, block, begun), name="the node"),
                tasks.create_task(_mesh(workspace, NodeDaemon(link, processes), options), name="the mesh"),
                tasks.create_task(_controllers(workspace), name="the controllers"),
            ]
            yield kube
            for task in lasting:
                task.cancel()
    finally:
        children.end(process, API_STOP_TIMEOUT_S)


async def _node(
    workspace: Workspace,
    link: Link,
    processes: Processes,
    block: Block,
    begun: MutableMapping[str, subprocess.Popen[bytes]],
) -> None:
    clock, logs = SystemClock(), workspace.logs
    await run_node(
        workspace.kubeconfig, link, processes, clock=clock, cidr=block.cidr, logs=logs, begun=begun
    )


async def _mesh(workspace: Workspace, daemon: NodeDaemon, options: LabOptions) -> None:
    clock, seed, idle = SystemClock(), options.seed, options.idle_mesh
    await run_mesh(workspace.kubeconfig, daemon, clock=clock, seed=seed, idle=idle)


async def _controllers(workspace: Workspace) -> None:
    await run_controllers(workspace.kubeconfig, clock=SystemClock())


async def ready(
    kube: Kube, options: LabOptions, workspace: Workspace, pods: Sequence[PodPlan], prometheus_url: str
) -> str:
    """Create the pods and wait until all of it works together. Returns where the gateway is reached.

    Raises:
        LabError, WaitTimeoutError: what did not, and what was last seen of it.
    """
    await installing.create_pods(kube, pods, {"KUBECONFIG": str(workspace.kubeconfig)})
    gateway = next(pod for pod in pods if pod.role is GATEWAY)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as waits:
        waits.create_task(readiness.pods_ready(kube, pods, workspace.logs))
        waits.create_task(readiness.all_scraped(session, prometheus_url, pods))
        if not options.foreign:
            waits.create_task(readiness.at_work(session, prometheus_url, options))
        if options.index_view and not options.foreign:
            waits.create_task(readiness.subscribed(session, gateway, pods, with_events=options.load))
    return gateway.url


def _launch_api(workspace: Workspace) -> subprocess.Popen[bytes]:
    command: list[str | Path] = [sys.executable, "-m", "resync.lab.api", "--kubeconfig", workspace.kubeconfig]
    return children.launch(command, workspace.logs / "api.log")


async def _api_answers(process: subprocess.Popen[bytes], workspace: Workspace) -> None:
    async def written() -> bool:
        if process.poll() is not None:
            raise LabStartError(_why_api_ended(process, workspace))
        return workspace.kubeconfig.exists()

    await wait_until_async(
        written, what="the lab's Kubernetes API to listen", timeout_s=API_TIMEOUT_S, every_s=0.02
    )


async def _must_live(process: subprocess.Popen[bytes], workspace: Workspace) -> None:
    await children.ended(process)
    raise LabError(_why_api_ended(process, workspace))


def _why_api_ended(process: subprocess.Popen[bytes], workspace: Workspace) -> str:
    last = children.last_line(workspace.logs / "api.log")
    return f"the lab's Kubernetes API ended with code {process.returncode}: {last}"
