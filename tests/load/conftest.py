"""Load and engines as real processes, and stand-in gateways that answer as told."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from aiohttp import web

from resync.kits.waits import wait_until

TIMEOUT_S = 15.0
ACCEPT_TURNS = 3
"""Of an event loop, until an accepted connection is known to its server: before that nobody ends it."""


@dataclass
class Running:
    """A process that listens for HTTP."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    @property
    def address(self) -> str:
        """ip:port."""
        return self.url.removeprefix("http://")

    def value(self, series: str) -> float:
        """The current value of one series of /metrics, 0 when there is none yet."""
        return self.values(series)[0]

    def values(self, *series: str) -> list[float]:
        """The values of several series on one page of /metrics."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=TIMEOUT_S) as response:  # noqa: S310
            page = response.read().decode()
        found = [re.findall(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE) for name in series]
        return [float(values[0]) if values else 0.0 for values in found]

    def wait_for(self, series: str, at_least: float, *, timeout_s: float = TIMEOUT_S) -> float:
        """The value of a series once it has grown that far."""
        wait_until(
            lambda: self.value(series) >= at_least, what=f"{series} >= {at_least:g}", timeout_s=timeout_s
        )
        return self.value(series)


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    """Starts `resync.<module>` on a free port; whatever still runs at the end is ended."""
    if "gateway" in request.fixturenames:
        # Set up first, so ended last: what a load opens while its gateway ends is nobody's to close.
        request.getfixturevalue("gateway")
    started: list[subprocess.Popen[bytes]] = []

    def make(module: str, *arguments: str) -> Running:
        log = tmp_path / f"{module}-{len(started)}.log"
        command = [sys.executable, "-m", f"resync.{module}", "--http-port", "0", *arguments]
        with log.open("wb") as stderr:
            started.append(subprocess.Popen(command, stderr=stderr, env=os.environ))
        (url,) = wait_until(
            lambda: re.findall(r"listening on (http://\S+)", log.read_text()),
            what=f"{module} to listen",
            timeout_s=TIMEOUT_S,
        )
        return Running(started[-1], log, url)

    yield make
    for process in started:
        process.kill()
        process.wait(TIMEOUT_S)


class Gateway:
    """A scripted gateway: healthy, and answering completions as `behaviour` says."""

    def __init__(self) -> None:
        self.behaviour = "hang"
        self.requests = 0
        self.body: dict[str, object] = {}
        """Of the last request."""
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(TIMEOUT_S), "the scripted gateway did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        application = web.Application()
        application.add_routes(
            [
                web.get("/health", self._health),
                web.post("/v1/completions", self._completions),
                web.post("/truth/match", self._completions),
            ]
        )
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        self.url = "http://{}:{}".format(*runner.addresses[0])
        self._up.set()
        await self._stop.wait()
        self._loop.remove_reader(listener)
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        await runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.body = await request.json()
        match self.behaviour:
            case "hang":
                await self._stop.wait()
                return web.Response()
            case "refuse":
                return web.Response(status=503)
            case _:
                return web.Response(text=self.behaviour)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A scripted gateway on a port of its own."""
    with Gateway() as running:
        yield running
