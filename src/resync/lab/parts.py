"""The parts of a lab other than Prometheus: API server, link, node and mesh, from nothing to ready."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from resync.kits.waits import wait_until_async
from resync.lab import children, installing, prometheus, readiness
from resync.lab.apiclient import LabApi
from resync.lab.errors import LabError, LabStartError
from resync.lab.link import Link, ThreadedLink
from resync.lab.manifests import GATEWAY, LabOptions, PodPlan
from resync.lab.prometheus import PrometheusServer
from resync.lab.workspace import Workspace

API_TIMEOUT_S = 15.0
API_STOP_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Urls:
    """Where a ready lab is reached."""

    prometheus: str
    gateway: str


@asynccontextmanager
async def running(options: LabOptions, workspace: Workspace) -> AsyncIterator[LabApi]:
    """The API server with the mesh's kinds and the namespace, and link, node and mesh at work on it.

    Raises:
        LabStartError: a part did not come up.
        LabError: (out of the body, in a group) a part ended that a lab cannot be without.
    """
    process = _launch_api(workspace)
    try:
        await _api_answers(process, workspace)
        async with LabApi(workspace.kubeconfig) as api, asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(_must_live(process, workspace))
            yield api
            watch.cancel()
    finally:
        children.end(process, API_STOP_TIMEOUT_S)


async def ready(
    api: LabApi, workspace: Workspace, pods: Sequence[PodPlan], server: PrometheusServer, *, with_events: bool
) -> Urls:
    """Create the pods and wait until all of it works together.

    Raises:
        LabError, PrometheusError, WaitTimeoutError: what did not, and what was last seen of it.
    """
    await installing.create_pods(api, pods, {"KUBECONFIG": str(workspace.kubeconfig)})
    answering = await asyncio.to_thread(prometheus.wait_ready, server)
    gateway = next(pod for pod in pods if pod.role is GATEWAY)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as waits:
        waits.create_task(readiness.pods_ready(api, pods))
        waits.create_task(readiness.all_scraped(session, answering.url, pods))
        waits.create_task(readiness.subscribed(session, gateway, pods, with_events=with_events))
    return Urls(answering.url, gateway.url)


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
