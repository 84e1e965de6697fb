"""Scripted engines and gateways on real sockets, and the observer as a real process between them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from resync.kits.waits import wait_until

GATEWAY = "default/gateway-0"
ENGINES = ("default/engine-0", "default/engine-1")
ACCEPT_TURNS = 3
"""Of an event loop, until an accepted connection is known to its server: before that nobody ends it."""
STOP_TIMEOUT_S = 30.0
"""On whatever machine; that it is quick is a test of its own."""


def row(block: int) -> tuple[int, int, int, int]:
    """One held block, its prefix key made from its hash."""
    return (0, block, 1, block + 1000)


@dataclass
class EngineScript:
    """What a stand-in engine answers to /truth; `status` other than 200 refuses."""

    held: set[int] = field(default_factory=set)
    incarnation: str = "a"
    published: int = 10
    status: int = 200
    changed: int = 0
    pending_s: float | None = None
    asked: list[str | None] = field(default_factory=list)

    def truth(self, seq: str | None) -> web.Response:
        """The answer to one question."""
        self.asked.append(seq)
        if self.status != 200:
            return web.Response(status=self.status)
        if seq is not None and int(seq) > self.published:
            return web.Response(status=409)
        answer = {
            "incarnation": self.incarnation,
            "seq": self.published if seq is None else int(seq),
            "published_seq": self.published,
            "blocks": [] if seq == "-1" else [row(one) for one in sorted(self.held)],
            "changed_blocks": self.changed,
            "oldest_pending_s": self.pending_s,
            "stored_total": 100,
            "removed_total": 50,
        }
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


@dataclass
class GatewayScript:
    """What a stand-in gateway believes: pod key -> (applied sequence, hashes)."""

    pods: dict[str, tuple[int, set[int]]] = field(default_factory=dict)
    status: int = 200
    takes_s: float = 0.0

    def index(self) -> web.Response:
        """The index view."""
        if self.status != 200:
            return web.Response(status=self.status)
        pods = {
            pod_key: {
                "applied_seq": applied,
                "state": "live",
                "exact": True,
                "entries": [[*row(one), "event"] for one in sorted(hashes)],
            }
            for pod_key, (applied, hashes) in self.pods.items()
        }
        view = {"gateway": GATEWAY, "at": 1.0, "pods": pods}
        return web.Response(body=msgspec.json.encode(view), content_type="application/json")


class Stage:
    """All stand-ins on one event loop in a thread; each listens on a port of its own."""

    def __init__(self) -> None:
        self.engines = {pod_key: EngineScript() for pod_key in ENGINES}
        self.gateway = GatewayScript()
        self.ports: dict[str, int] = {}
        self.hanging_up: set[str] = set()
        """Whose connections end with every answer about health."""
        self.health_asked_s: defaultdict[str, list[float]] = defaultdict(list)
        self._keepers: list[socket.socket] = []
        self._loop = asyncio.new_event_loop()
        self._runners: dict[str, tuple[web.AppRunner, socket.socket]] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="stage")
        self._thread.start()
        for pod_key, script in self.engines.items():
            self._do(self._serve_engine(pod_key, script))
        self._do(self._serve_gateway())

    def agree(self) -> None:
        """Let engines hold blocks and the gateway know exactly those."""
        for position, (pod_key, script) in enumerate(self.engines.items()):
            script.held = {1, 2, 3 + position}
            self.gateway.pods[pod_key] = (script.published, set(script.held))

    def kill_engine(self, pod_key: str) -> None:
        """Close the stand-in's socket, and see to it that nobody else gets its port meanwhile."""
        self._do(self._end(pod_key))
        keeper = socket.socket()
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", self.ports[pod_key]))
        self._keepers.append(keeper)

    def close(self) -> None:
        """Stop everything."""
        for name in list(self._runners):
            self._do(self._end(name))
        for keeper in self._keepers:
            keeper.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _serve_engine(self, pod_key: str, script: EngineScript) -> None:
        async def truth(request: web.Request) -> web.Response:
            return script.truth(request.query.get("seq"))

        await self._serve(pod_key, "/truth", truth)

    async def _serve_gateway(self) -> None:
        async def index(_request: web.Request) -> web.Response:
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(self.gateway.takes_s, over.set)
            await over.wait()
            return self.gateway.index()

        await self._serve(GATEWAY, "/index", index)

    async def _serve(self, name: str, path: str, handler: Any) -> None:
        async def health(_request: web.Request) -> web.Response:
            self.health_asked_s[name].append(self._loop.time())
            answer = web.Response()
            if name in self.hanging_up:
                answer.force_close()
            return answer

        application = web.Application()
        application.router.add_get(path, handler)
        application.router.add_get("/health", health)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        self._runners[name] = runner, listener
        self.ports[name] = runner.addresses[0][1]

    async def _end(self, name: str) -> None:
        runner, listener = self._runners.pop(name)
        self._loop.remove_reader(listener)
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        await runner.cleanup()


class ObserverProcess:
    """`python -m resync.observer` on a port of its own choice."""

    def __init__(self, log_path: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._log = log_path.open("w+")
        self.log_path = log_path
        self.process = subprocess.Popen(
            [sys.executable, "-m", "resync.observer", "--http-port", "0", *arguments],
            stderr=self._log,
            env={**os.environ, "POD_NAME": "observer-0", **(environment or {})},
        )
        self.address = wait_until(self._listening, what="the observer to listen", timeout_s=15)

    def _listening(self) -> str | None:
        lines = [line for line in self.log_path.read_text().splitlines() if "listening on" in line]
        return lines[0].rpartition(" ")[2] if lines else None

    def page(self) -> "Page":
        """The metrics as of now."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=5) as answer:
            return Page(answer.read().decode())

    def wait_for(self, what: str, condition: Any, timeout_s: float = 10.0) -> "Page":
        """The first page for which `condition` holds."""

        def holds() -> Page | None:
            page = self.page()
            return page if condition(page) else None

        page = wait_until(holds, what=what, timeout_s=timeout_s, every_s=0.05)
        assert page is not None
        return page

    def kill(self) -> None:
        """End it as the kernel would, unless it has ended."""
        self.process.kill()
        self.process.wait()
        self._log.close()

    def stop(self) -> int:
        """End it as kubelet would; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        finally:
            self.kill()


class Page:
    """One metrics page, parsed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one series, None when there is none."""
        return self._samples.get((name, tuple(sorted(labels.items()))))

    def divergence(self, *, control: bool = False) -> dict[tuple[str, str], int]:
        """Nonzero divergence by (pod, kind)."""
        return {
            (dict(labels)["pod_key"], dict(labels)["kind"]): int(value)
            for (name, labels), value in self._samples.items()
            if name == "resync_divergence_blocks"
            and value
            and (dict(labels)["pod_key"] == "resync-control") is control
        }


@pytest.fixture
def stage() -> Iterator[Stage]:
    staged = Stage()
    yield staged
    staged.close()


@pytest.fixture
def observe(stage: Stage, tmp_path: Path) -> Iterator[Callable[[], ObserverProcess]]:
    """Starts one more observer of a stage on which both sides agree."""
    stage.agree()
    started: list[ObserverProcess] = []

    def start() -> ObserverProcess:
        started.append(ObserverProcess(tmp_path / f"observer-{len(started)}.log", *arguments(stage)))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def observer(observe: Callable[[], ObserverProcess]) -> ObserverProcess:
    return observe()


def arguments(stage: Stage) -> list[str]:
    """Flags that point an observer at the stage."""
    engines = ",".join(f"{pod.partition('/')[2]}=127.0.0.1:{stage.ports[pod]}" for pod in ENGINES)
    return [
        "--static-engines",
        engines,
        "--static-gateways",
        f"gateway-0=127.0.0.1:{stage.ports[GATEWAY]}",
        "--first-subscription-s=1.5",
        "--absence-s=0.5",
        "--control-phase-timeout-s=5",
    ]
