"""An API with the controllers on it, a node where pods have to run, and kubectl for what people type."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from resync.kits.clocks import SystemClock
from resync.kits.waits import wait_until_async
from resync.lab.api.process import ApiProcess, start_api
from resync.lab.controllers import run_controllers
from resync.lab.kube import PODS, Kube, Object, Resource
from resync.lab.link import Link
from resync.lab.mesh import run_mesh
from resync.lab.node import NodeDaemon, Processes, run_node

KUBECTL = shutil.which("kubectl")
SPACE = "default"
SLEEPER = "import signal; print('up', flush=True); signal.pause()"


@dataclass
class Place:
    """A namespace with controllers at work."""

    kube: Kube
    api: ApiProcess

    async def kubectl(self, *words: str, sent: str = "", ok: bool = True) -> str:
        """Standard output, or standard error of a call that has to fail."""
        assert KUBECTL is not None
        common = ["--kubeconfig", str(self.api.kubeconfig), "--cache-dir", f"{self.api.log.parent}/cache"]
        pipe = asyncio.subprocess.PIPE
        done = await asyncio.create_subprocess_exec(
            KUBECTL, *common, *words, stdin=pipe, stdout=pipe, stderr=pipe
        )
        output, complaints = await asyncio.wait_for(done.communicate(sent.encode()), 60)
        assert (done.returncode == 0) is ok, complaints.decode()
        return (output if ok else complaints).decode()

    async def names(self, resource: Resource, labels: str = "", namespace: str = SPACE) -> list[str]:
        """The objects that are not on their way out."""
        items, _ = await self.kube.list(resource, namespace, labels)
        return [one["metadata"]["name"] for one in items if "deletionTimestamp" not in one["metadata"]]

    async def until(
        self, seen: Callable[[], Awaitable[object]], what: str, timeout_s: float = 20.0
    ) -> object:
        """The first true answer."""

        async def look() -> object:
            return await seen()

        return await wait_until_async(look, what=what, timeout_s=timeout_s, every_s=0.02)

    async def until_ready(self, count: int, labels: str = "app=web") -> None:
        """So many pods are there, all of them Ready."""

        async def ready() -> bool:
            items, _ = await self.kube.list(PODS, SPACE, labels)
            return len(items) == count and all(_is_ready(item) for item in items)

        await self.until(ready, f"{count} Ready pods")


def _is_ready(item: Object) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def deployment(
    replicas: int = 1, *, code: str = SLEEPER, version: str = "1", surge: object = "25%", **spec: object
) -> Object:
    """A deployment `web` of sleeping processes."""
    container: Object = {"name": "main", "image": "none", "command": ["python", "-c", code]}
    template = {
        "metadata": {"labels": {"app": "web", "version": version}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "strategy": rolling,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template,
            **spec,
        },
    }


class Rig:
    """What these tests share; a fixture, because test folders are not importable."""

    deployment = staticmethod(deployment)
    has_kubectl = KUBECTL is not None

    def __init__(self, api: ApiProcess, logs: Path) -> None:
        self.api = api
        self.logs = logs

    @asynccontextmanager
    async def controllers(self) -> AsyncIterator[Place]:
        """Controllers alone: pods stay Pending."""
        async with Kube.connect(self.api.kubeconfig) as kube, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run_controllers(self.api.kubeconfig, clock=SystemClock()))
            try:
                yield Place(kube, self.api)
            finally:
                running.cancel()

    @asynccontextmanager
    async def cluster(self, octet: int) -> AsyncIterator[Place]:
        """Controllers, a node and a mesh: pods are processes, and faults reach them."""
        async with Link(seed=1) as link, self.controllers() as place, asyncio.TaskGroup() as tasks:
            processes, clock, cidr = Processes(), SystemClock(), f"127.{octet}.0.0/16"
            kubeconfig, daemon = self.api.kubeconfig, NodeDaemon(link, processes)
            running = [
                tasks.create_task(
                    run_node(kubeconfig, link, processes, clock=clock, cidr=cidr, logs=self.logs)
                ),
                tasks.create_task(run_mesh(kubeconfig, daemon, clock=clock, seed=1)),
            ]
            try:
                yield place
            finally:
                for task in running:
                    task.cancel()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with start_api(tmp_path / "api") as api:
        yield Rig(api, tmp_path)
