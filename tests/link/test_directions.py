"""Which direction is delayed, measured with real sockets. The gateway is source, the engine target."""

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from resync.kits.waits import wait_until_async

if TYPE_CHECKING:
    from tests.link.conftest import Net, Rig, Server

pytestmark = pytest.mark.integration

SLACK_S = 0.02


async def shape(rig: "Rig", net: "Net", direction: str, gateway: "Server", engine: "Server") -> None:
    if direction in ("to", "both"):
        await net.link.set_rules(gateway.name, [rig.delay(towards=[engine])])
    if direction in ("from", "both"):
        await net.link.set_rules(engine.name, [rig.delay(towards=[gateway])])


@pytest.mark.parametrize(
    ("direction", "there_ms", "back_ms"), [("none", 0, 0), ("to", 50, 0), ("from", 0, 50), ("both", 50, 50)]
)
def test_each_direction_adds_its_delay_and_only_its_delay(
    rig: "Rig", direction: str, there_ms: int, back_ms: int
) -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3)
            connection = await net.connect(gateway, engine)
            await rig.trips(*connection, engine)
            await shape(rig, net, direction, gateway, engine)
            there, back, both = await rig.trips(*connection, engine)
            assert there_ms / 1e3 <= there < there_ms / 1e3 + SLACK_S
            assert back_ms / 1e3 <= back < back_ms / 1e3 + SLACK_S
            assert (there_ms + back_ms) / 1e3 <= both < (there_ms + back_ms) / 1e3 + SLACK_S

    asyncio.run(scenario())


def test_the_rules_follow_the_pod_not_who_opened_the_connection(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3)
            connection = await net.connect(engine, gateway)  # the engine calls this time
            await shape(rig, net, "from", gateway, engine)
            there, back, _ = await rig.trips(*connection, gateway)
            assert 0.05 <= there < 0.05 + SLACK_S
            assert back < SLACK_S

    asyncio.run(scenario())


def test_an_untouched_peer_and_an_outsider_are_unchanged(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway, engine, other = [
                await net.pod(name, number) for number, name in enumerate(("gateway", "engine", "other"), 2)
            ]
            await shape(rig, net, "both", gateway, engine)
            to_other = await net.connect(gateway, other)
            assert (await rig.trips(*to_other, other))[2] < SLACK_S
            reader, writer = await asyncio.open_connection(engine.pod_ip, engine.port)
            assert (await rig.trips(reader, writer, engine))[2] < SLACK_S
            writer.close()
            assert engine.callers == ["127.0.0.1"]

    asyncio.run(scenario())


def test_without_peers_all_egress_is_delayed_to_outsiders_too(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            engine = await net.pod("engine", 3)
            await net.link.set_rules("engine", [rig.delay()])
            reader, writer = await asyncio.open_connection(engine.pod_ip, engine.port)
            await rig.trip(reader, writer, engine)
            there, back, _ = await rig.trips(reader, writer, engine)
            writer.close()
            assert there < SLACK_S
            assert 0.05 <= back < 0.05 + SLACK_S

    asyncio.run(scenario())


def test_jitter_moves_every_message_and_stays_within_its_bounds(rig: "Rig") -> None:
    async def once() -> list[float]:
        async with rig.network() as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3)
            connection = await net.connect(gateway, engine)
            await rig.trip(*connection, engine)
            await net.link.set_rules("gateway", [rig.delay(jitter_ms=10, towards=[engine])])
            return [(await rig.trip(*connection, engine))[0] for _ in range(15)]

    # The seed draws the same delays for every try, so the least of each message is free of stalls.
    tries = [asyncio.run(once()) for _ in range(3)]
    measured = [min(message) for message in zip(*tries, strict=True)]
    assert min(measured) >= 0.04
    assert min(measured) < 0.047
    assert max(measured) > 0.053
    assert max(measured) < 0.06 + SLACK_S


def test_one_connection_lives_through_inject_and_heal_and_is_clean_within_100_ms(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3)
            connection = await net.connect(gateway, engine)
            assert (await rig.trips(*connection, engine))[2] < SLACK_S

            async def clean() -> bool:
                return (await rig.trip(*connection, engine))[2] < SLACK_S

            took = []
            for _ in range(3):
                await shape(rig, net, "both", gateway, engine)
                assert (await rig.trips(*connection, engine))[2] >= 0.1
                for pod in (gateway, engine):
                    await net.link.set_rules(pod.name, [])
                healed_s = time.monotonic()
                await wait_until_async(clean, what="a clean round trip", timeout_s=10, every_s=0.001)
                took.append(time.monotonic() - healed_s)
            assert min(took) < 0.1
            assert net.link.statistics().accepted == 1

    asyncio.run(scenario())


def test_a_deaf_link_takes_rules_and_does_nothing(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network(deaf=True) as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3)
            await shape(rig, net, "both", gateway, engine)
            connection = await net.connect(gateway, engine)
            assert (await rig.trips(*connection, engine))[2] < SLACK_S

    asyncio.run(scenario())


def test_a_new_connection_pays_for_its_handshake_too(rig: "Rig") -> None:
    async def scenario() -> None:
        async with rig.network() as net, net.stack:
            gateway, engine = await net.pod("gateway", 2), await net.pod("engine", 3)
            await shape(rig, net, "both", gateway, engine)
            took = []
            for _ in range(3):
                started_s = time.monotonic()
                reader, writer = await net.connect(gateway, engine)
                writer.write(b"x" * 64)
                await reader.readexactly(64)
                took.append(time.monotonic() - started_s)
            assert 0.2 <= min(took) < 0.3
            assert engine.callers == [gateway.pod_ip] * 3

    asyncio.run(scenario())
