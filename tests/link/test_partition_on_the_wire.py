"""A partition between real sockets: silence at both ends, connects that hang, resets, and what heals when."""

import asyncio
import time
from contextlib import suppress
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import pytest

from resync.kits.waits import wait_until_async
from resync.lab.link import Destination, Rule
from resync.lab.link.retransmission import after_losses_s

if TYPE_CHECKING:
    from tests.link.conftest import Net, Rig, Server

pytestmark = pytest.mark.integration

QUIET_S = 0.15


def cut(*peers: "Server", kind: str = "drop", ingress: bool = False) -> Rule:
    towards = tuple(Destination(IPv4Network(f"{peer.pod_ip}/32")) for peer in peers)
    return Rule(kind, {}, towards or None, ingress=ingress)


async def silent(reader: asyncio.StreamReader, for_s: float = QUIET_S) -> bool:
    """Whether nothing comes for so long, not even an end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await reader.read(1)
            return False
    return True


async def three_pods(net: "Net") -> tuple["Server", "Server", "Server"]:
    gateway = await net.pod("gateway", 1, listening=False)
    return gateway, await net.pod("engine", 2), await net.pod("other", 3)


@pytest.mark.parametrize("side", ["egress of the caller", "ingress of the callee", "egress of the callee"])
def test_a_cut_silences_a_connection_and_what_waited_goes_at_a_retransmission(rig: "Rig", side: str) -> None:
    async def late_s() -> float:
        async with rig.network() as net:
            gateway, engine, other = await three_pods(net)
            reader, writer = await net.connect(gateway, engine)
            spared = await net.connect(gateway, other)
            await rig.trips(reader, writer, engine)
            uid, rule = {
                "egress of the caller": ("gateway", cut(engine)),
                "ingress of the callee": ("engine", cut(gateway, ingress=True)),
                "egress of the callee": ("engine", cut(gateway)),
            }[side]
            await net.link.set_rules(uid, [rule])
            sent_s = time.monotonic()
            writer.write(b"x" * 64)
            there, back, _ = await rig.trips(*spared, other)
            assert max(there, back) < 0.05
            # What was sent is in the link by now: the first try again falls into this silence.
            assert await silent(reader, after_losses_s(1) + 0.05)
            await net.link.set_rules(uid, [])
            await reader.readexactly(64)
            return time.monotonic() - sent_s

    due_s = after_losses_s(2)
    late = [asyncio.run(late_s()) for _ in range(3)]
    assert due_s - 0.01 <= min(late) < due_s + 0.15


@pytest.mark.parametrize("ingress", [False, True])
def test_a_connect_in_a_partition_hangs_until_the_kernel_tries_again(rig: "Rig", *, ingress: bool) -> None:
    async def connected_s() -> float:
        async with rig.network() as net:
            gateway, engine, other = await three_pods(net)
            uid, rule = ("engine", cut(gateway, ingress=True)) if ingress else ("gateway", cut(engine))
            await net.link.set_rules(uid, [rule])
            started_s = time.monotonic()
            connecting = asyncio.create_task(net.connect(gateway, engine))
            await net.connect(gateway, other)
            await net.connect(other, engine)
            done, _ = await asyncio.wait({connecting}, timeout=QUIET_S)
            assert not done
            await net.link.set_rules(uid, [])
            reader, writer = await connecting
            took_s = time.monotonic() - started_s
            await rig.trip(reader, writer, engine)
            assert net.link.statistics().accepted == 3
            return took_s

    assert 0.9 < min(asyncio.run(connected_s()) for _ in range(3)) < 1.5


def test_without_peers_everybody_is_cut_off_and_outsiders_too(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net:
            gateway, engine, other = await three_pods(net)
            await net.link.set_rules("engine", [cut()])
            tasks = [
                asyncio.create_task(net.connect(gateway, engine)),
                asyncio.create_task(asyncio.open_connection(engine.pod_ip, engine.port)),
            ]
            done, waiting = await asyncio.wait(tasks, timeout=QUIET_S)
            assert not done
            await net.connect(gateway, other)
            for task in waiting:
                task.cancel()

    asyncio.run(scenario())


def test_a_cut_of_one_way_lets_the_other_speak_until_it_misses_acknowledgements(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net:
            gateway, engine, _ = await three_pods(net)
            reader, writer = await net.connect(gateway, engine)
            await rig.trips(reader, writer, engine)
            seen = len(engine.arrivals)
            await net.link.set_rules("engine", [cut(gateway)])
            writer.write(b"x" * 64)

            async def there() -> bool:
                return len(engine.arrivals) == seen + 1

            await wait_until_async(there, what="the first message to arrive", timeout_s=10, every_s=0.01)
            assert await silent(reader, 0.25)
            writer.write(b"y" * 64)
            assert await silent(reader)
            assert len(engine.arrivals) == seen + 1
            await net.link.set_rules("engine", [])
            assert await reader.readexactly(128) == b"x" * 64 + b"y" * 64

    asyncio.run(scenario())


def test_a_partition_that_resets_tells_both_ends_once_and_then_is_silent(rig: "Rig") -> None:
    async def scenario() -> None:
        ended: asyncio.Queue[type[BaseException] | None] = asyncio.Queue()
        heard = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await reader.read(100):
                    heard.set()
                await ended.put(None)
            except ConnectionError as error:
                await ended.put(type(error))
            finally:
                writer.close()

        async with rig.network() as net:
            gateway = await net.pod("gateway", 1, listening=False)
            engine = await net.pod("engine", 2, listen)
            reader, writer = await net.connect(gateway, engine)
            writer.write(b"hello")
            await heard.wait()
            await net.link.set_rules("engine", [cut(gateway, kind="reset", ingress=True)])
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            assert await ended.get() is ConnectionResetError
            connecting = asyncio.create_task(net.connect(gateway, engine))
            done, _ = await asyncio.wait({connecting}, timeout=QUIET_S)
            assert not done
            await net.link.set_rules("engine", [])
            _, writer = await connecting
            writer.write_eof()
            assert await ended.get() is None

    asyncio.run(scenario())


def test_a_deaf_link_cuts_nothing(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network(deaf=True) as net:
            gateway, engine, _ = await three_pods(net)
            reader, writer = await net.connect(gateway, engine)
            await net.link.set_rules("engine", [cut(kind="reset")])
            await rig.trip(reader, writer, engine)
            reader, writer = await net.connect(gateway, engine)
            await rig.trip(reader, writer, engine)

    asyncio.run(scenario())


def test_a_pod_that_goes_in_a_partition_takes_its_cut_with_it(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net:
            _, engine, _ = await three_pods(net)
            await net.link.set_rules("gateway", [cut(engine)])
            await net.link.close_pod("gateway")
            again = await net.pod("gateway-2", 1, listening=False)
            reader, writer = await net.connect(again, engine)
            await rig.trip(reader, writer, engine)

    asyncio.run(scenario())


def test_a_narrow_link_takes_as_long_as_its_rate_says(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net:
            gateway, engine, _ = await three_pods(net)
            reader, writer = await net.connect(gateway, engine)
            await rig.trips(reader, writer, engine)
            await net.link.set_rules(
                "gateway", [Rule("tbf", {"rate": "1mbps", "limit": 1000, "buffer": 10_000})]
            )
            took = []
            for _ in range(3):
                started_s = time.monotonic()
                writer.write(b"x" * 310_000)
                await reader.readexactly(310_000)
                took.append(time.monotonic() - started_s)
            assert 0.29 < min(took) < 0.45

    asyncio.run(scenario())
