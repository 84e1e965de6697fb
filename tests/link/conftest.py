import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network

import pytest

from resync.lab.link import Destination, Endpoints, Link, Rule

# Parallel test processes must not meet on one address: each has two blocks of its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
POD_BLOCK, BIND_BLOCK = f"127.251.{2 * WORKER}", f"127.251.{2 * WORKER + 1}"
CHUNK = 64


@dataclass
class Server:
    """An echo server at a bind address; notes when each message arrived and who called."""

    name: str
    number: int
    port: int = 0
    arrivals: list[float] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)

    @property
    def bind_ip(self) -> str:
        return f"{BIND_BLOCK}.{self.number}"

    @property
    def pod_ip(self) -> str:
        return f"{POD_BLOCK}.{self.number}"

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(self.name, self.pod_ip, self.bind_ip, (self.port,) if self.port else ())

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.callers.append(writer.get_extra_info("peername")[0])
        try:
            while data := await reader.read(65536):
                self.arrivals.append(time.monotonic())
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Net:
    """A link with pods on it."""

    link: Link
    stack: AsyncExitStack

    async def pod(
        self, name: str, number: int, serve: Serve | None = None, *, listening: bool = True
    ) -> Server:
        server = Server(name, number)
        if listening:
            listener = await asyncio.start_server(serve or server.echo, server.bind_ip, 0)
            self.stack.callback(listener.close)
            server.port = listener.sockets[0].getsockname()[1]
        await self.link.open_pod(server.endpoints)
        return server

    async def connect(
        self, caller: Server, callee: Server
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            callee.pod_ip, callee.port, local_addr=(caller.bind_ip, 0)
        )
        self.stack.callback(writer.close)
        return reader, writer


@asynccontextmanager
async def network(*, deaf: bool = False, seed: int = 1) -> AsyncIterator[Net]:
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(Link(seed=seed, deaf=deaf))
        async with AsyncExitStack() as inner:
            yield Net(link, inner)


def delay(time_ms: int = 50, *, towards: Sequence[Server] | None = None, jitter_ms: int = 0) -> Rule:
    settings: dict[str, str | float] = {"time": f"{time_ms}ms"}
    if jitter_ms:
        settings["jitter"] = f"{jitter_ms}ms"
    if towards is None:
        return Rule("netem", settings)
    return Rule("netem", settings, tuple(Destination(IPv4Network(f"{peer.pod_ip}/32")) for peer in towards))


async def trip(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server
) -> tuple[float, float, float]:
    """One message there and back: seconds (there, back, both)."""
    seen = len(server.arrivals)
    sent_s = time.monotonic()
    writer.write(b"x" * CHUNK)
    await reader.readexactly(CHUNK)
    back_s = time.monotonic()
    there_s = server.arrivals[seen]
    return there_s - sent_s, back_s - there_s, back_s - sent_s


async def trips(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server, count: int = 8
) -> tuple[float, float, float]:
    """The least of each over some messages.

    A busy machine can only add: if the least is not too short, no trip was; if it is not too long, what the
    link adds is not.
    """
    measured = [await trip(reader, writer, server) for _ in range(count)]
    there, back, both = (min(column) for column in zip(*measured, strict=True))
    return there, back, both


class Rig:
    """What tests of the link share; a fixture, because test folders are not importable."""

    network = staticmethod(network)
    delay = staticmethod(delay)
    trip = staticmethod(trip)
    trips = staticmethod(trips)
    server = Server


@pytest.fixture
def rig() -> Rig:
    return Rig()
