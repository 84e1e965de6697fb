"""A relayed connection is a TCP connection: bytes, ends, refusals and pressure pass on."""

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from resync.kits.waits import wait_until_async
from resync.lab.link import AddressInUseError, Endpoints, Link, LinkError, UnknownPodError
from resync.lab.link.dice import seeded
from resync.lab.link.streams import BUFFER_BYTES_MAX, reset

if TYPE_CHECKING:
    from tests.link.conftest import Rig

pytestmark = pytest.mark.integration

MEGABYTE = 1024 * 1024


def test_ten_megabytes_pass_uncorrupted_while_the_rules_change(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3)
            reader, writer = await net.connect(gateway, engine)
            sent = seeded(5).randbytes(10 * MEGABYTE)

            async def send() -> None:
                for start in range(0, len(sent), 100_000):
                    writer.write(sent[start : start + 100_000])
                    await writer.drain()
                writer.write_eof()

            async def receive() -> bytes:
                received, number = b"", 0
                while data := await reader.read(256 * 1024):
                    received += data
                    number += 1
                    rules = [rig.delay(number % 7, jitter_ms=number % 5)] if number % 3 else []
                    await net.link.set_rules(("gateway", "engine")[number % 2], rules)
                assert number >= 40
                return received

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(send())
                received = await receive()
            assert len(received) == len(sent)
            assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()

    asyncio.run(scenario())


def test_a_half_closed_connection_still_answers_and_then_ends(rig: "Rig") -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everything = await reader.read(-1)
        writer.write(everything[::-1])
        writer.close()

    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway = await net.pod("gateway", 2)
            engine = await net.pod("engine", 3, answer_at_the_end)
            await net.link.set_rules("gateway", [rig.delay(20)])
            reader, writer = await net.connect(gateway, engine)
            writer.write(b"abc")
            writer.write_eof()
            assert await reader.read(-1) == b"cba"
            writer.close()

            async def none_open() -> bool:
                return net.link.statistics().open_connections == 0

            await wait_until_async(none_open, what="the relayed connection to end", timeout_s=10)

    asyncio.run(scenario())


def test_a_refused_upstream_resets_the_caller(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway = await net.pod("gateway", 2)
            engine = rig.server("engine", 4)
            listener = await asyncio.start_server(lambda _r, w: w.close(), engine.bind_ip, 0)
            engine.port = listener.sockets[0].getsockname()[1]
            listener.close()
            await listener.wait_closed()
            await net.link.open_pod(engine.endpoints)
            reader, _ = await net.connect(gateway, engine)
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            assert net.link.statistics().open_connections == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("pause_ms", [0, 30])
def test_a_reset_is_passed_on_behind_the_bytes_before_it(rig: "Rig", pause_ms: int) -> None:
    async def say_and_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"last words")
        await reader.readexactly(1)
        assert isinstance(writer.transport, asyncio.Transport)
        reset(writer.transport)

    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3, say_and_reset)
            if pause_ms:
                await net.link.set_rules("engine", [rig.delay(pause_ms)])
            reader, writer = await net.connect(gateway, engine)
            writer.write(b"x")
            assert await reader.readexactly(10) == b"last words"
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read(1)

    asyncio.run(scenario())


def test_a_receiver_that_does_not_read_stops_the_sender(rig: "Rig") -> None:
    reading = asyncio.Event

    async def scenario() -> None:
        go = reading()

        async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await go.wait()
            writer.write(str(len(await reader.read(-1))).encode())
            writer.close()

        async with rig.network() as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3, read_late)
            await net.link.set_rules("gateway", [rig.delay(5)])
            reader, writer = await net.connect(gateway, engine)
            total = 5 * BUFFER_BYTES_MAX
            writer.write(b"x" * total)
            await wait_until_async(
                lambda: paused(net.link), what="the link to stop reading from the sender", timeout_s=10
            )
            (connection,) = net.link._connections
            assert connection.forward.lane.queued_bytes <= BUFFER_BYTES_MAX + MEGABYTE
            writer.write_eof()
            go.set()
            assert await reader.read(-1) == str(total).encode()

    asyncio.run(scenario())


async def paused(link: Link) -> bool:
    return any(not connection.forward._reading for connection in link._connections)


def test_closing_a_pod_resets_its_connections_and_frees_its_address(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3)
            reader, writer = await net.connect(gateway, engine)
            writer.write(b"x")
            await reader.readexactly(1)
            await net.link.close_pod("engine")
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            await net.link.open_pod(engine.endpoints)

    asyncio.run(scenario())


def test_the_link_says_what_is_wrong(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            engine = await net.pod("engine", 3)
            with pytest.raises(UnknownPodError, match="no pod stranger"):
                await net.link.set_rules("stranger", [])
            with pytest.raises(UnknownPodError):
                await net.link.close_pod("stranger")
            with pytest.raises(LinkError, match="already opened"):
                await net.link.open_pod(engine.endpoints)
            twin_ip = rig.server("twin", 9).bind_ip
            with pytest.raises(AddressInUseError, match="resync lab down"):
                await net.link.open_pod(Endpoints("twin", engine.pod_ip, twin_ip, (engine.port,)))
            with pytest.raises(UnknownPodError):
                await net.link.close_pod("twin")

    asyncio.run(scenario())
