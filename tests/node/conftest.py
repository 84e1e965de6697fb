import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from resync.kits.clocks import SystemClock
from resync.kits.waits import wait_until_async
from resync.lab.api.process import ApiProcess, start_api
from resync.lab.kube import PODS, Kube, NotFoundError, Object
from resync.lab.link import Link
from resync.lab.mesh import run_mesh
from resync.lab.node import NodeDaemon, Processes, run_node

ECHO = """
import os, socketserver
OK = b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n'
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            if data.startswith(b'GET'):
                return self.request.sendall(OK)
            self.request.sendall(data)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
with Server((os.environ['POD_BIND_IP'], 18080), Echo) as server:
    print('serving', os.environ['POD_NAME'], os.environ['POD_NAMESPACE'], os.environ['POD_IP'], flush=True)
    server.serve_forever()
"""
PORT = 18080
OWNER = "TEST_LOGS"
"""In the environment of what a machine's pods run: tests side by side give pods the same names."""


@dataclass
class Machine:
    """An API with a node, a link and a mesh on it."""

    kube: Kube
    link: Link
    logs: Path

    async def create(
        self, name: str, code: str = ECHO, *, probe: bool = True, address: str = "", **spec: object
    ) -> Object:
        container: Object = {
            "name": "main",
            "image": "none",
            "command": ["python", "-c", code],
            "ports": [{"containerPort": PORT}],
            "env": [{"name": OWNER, "value": str(self.logs)}],
        }
        if probe:
            container["readinessProbe"] = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1}
        annotations = {"resync.dev/address": address} if address else {}
        labels = {"app": name.split("-", maxsplit=1)[0]}
        metadata = {"name": name, "labels": labels, "annotations": annotations}
        return await self.kube.create(
            PODS, "default", {"metadata": metadata, "spec": {"containers": [container], **spec}}
        )

    async def pod(self, name: str) -> Object:
        return await self.kube.get(PODS, "default", name)

    async def until(
        self, name: str, holds: Callable[[Object], bool], *, what: str, timeout_s: float = 15
    ) -> Object:
        async def look() -> Object | None:
            found = await self.pod(name)
            return found if holds(found) else None

        found = await wait_until_async(look, what=f"pod {name}: {what}", timeout_s=timeout_s, every_s=0.02)
        assert found is not None
        return found

    async def until_ready(self, name: str) -> Object:
        return await self.until(name, is_ready, what="ready")

    async def until_gone(self, name: str, timeout_s: float = 10) -> None:
        async def gone() -> bool:
            try:
                await self.pod(name)
            except NotFoundError:
                return True
            return False

        await wait_until_async(gone, what=f"pod {name} to be gone", timeout_s=timeout_s, every_s=0.02)

    def processes(self, name: str) -> list[int]:
        """Pids of what runs in that pod of this machine."""
        return marked_processes(f"POD_NAME={name}\0", f"{OWNER}={self.logs}\0")

    def log(self, name: str) -> str:
        return (self.logs / f"default_{name}.log").read_text()


def is_ready(found: Object) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def container_status(found: Object) -> Object:
    statuses = (found.get("status") or {}).get("containerStatuses") or [{}]
    status: Object = statuses[0]
    return status


def started_at(found: Object) -> datetime:
    """When the process of the pod's container was started, in whole seconds, as the node has it."""
    return datetime.fromisoformat(container_status(found)["state"]["running"]["startedAt"])


def marked_processes(*marks: str) -> list[int]:
    """Pids of this computer's processes with all of the marks in their environment or command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if all(mark.encode() in text for mark in marks):
                found.append(int(entry.name))
    return found


@asynccontextmanager
async def machine(
    api: ApiProcess,
    logs: Path,
    *,
    octet: int,
    begun: MutableMapping[str, subprocess.Popen[bytes]] | None = None,
) -> AsyncIterator[Machine]:
    clock = SystemClock()
    async with (
        Link(seed=1) as link,
        Kube.connect(api.kubeconfig) as kube,
        asyncio.TaskGroup() as tasks,
    ):
        processes = Processes()
        cidr = f"127.{octet}.0.0/16"
        node = run_node(api.kubeconfig, link, processes, clock=clock, cidr=cidr, logs=logs, begun=begun)
        daemon = NodeDaemon(link, processes)
        background = [
            tasks.create_task(node),
            tasks.create_task(run_mesh(api.kubeconfig, daemon, clock=clock, seed=1)),
        ]
        try:
            yield Machine(kube, link, logs)
        finally:
            for task in background:
                task.cancel()


class Rig:
    """What tests of the node share; a fixture, because test folders are not importable."""

    machine = staticmethod(machine)
    is_ready = staticmethod(is_ready)
    container_status = staticmethod(container_status)
    started_at = staticmethod(started_at)
    marked_processes = staticmethod(marked_processes)
    port = PORT
    echo = ECHO


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiProcess]:
    with start_api(tmp_path / "api") as process:
        yield process


@pytest.fixture
def rig() -> Rig:
    return Rig()
