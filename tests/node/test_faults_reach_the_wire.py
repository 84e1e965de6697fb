"""From a NetworkChaos object to milliseconds: mesh, daemon, node and link together."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resync.kits.waits import wait_until_async
from resync.lab.api.process import ApiProcess
from resync.lab.kube import NAMESPACES, NETWORK_CHAOS, Object

if TYPE_CHECKING:
    from tests.node.conftest import Machine, Rig

pytestmark = pytest.mark.integration

# Parallel test processes must not meet on one address.
OCTETS = {"to": 238, "from": 239, "both": 240}


async def round_trip_s(rig: "Rig", machine: "Machine", source: str, target: str) -> float:
    """The least of eight round trips over one connection, from one pod's address to another's.

    A busy machine can only add: if the least is not too short, none was.
    """
    pod_ip = (await machine.pod(target))["status"]["podIP"]
    own_ip = (await machine.pod(source))["status"]["podIP"].replace(".0.", ".1.", 1)
    reader, writer = await asyncio.open_connection(pod_ip, rig.port, local_addr=(own_ip, 0))
    measured = []
    for _ in range(9):
        started_s = time.monotonic()
        writer.write(b"ping")
        await reader.readexactly(4)
        measured.append(time.monotonic() - started_s)
    writer.close()
    return min(measured[1:])


def spec(direction: str) -> Object:
    return {
        "action": "delay",
        "mode": "all",
        "selector": {"namespaces": ["default"], "labelSelectors": {"app": "gateway"}},
        "direction": direction,
        "target": {
            "mode": "all",
            "selector": {"namespaces": ["default"], "labelSelectors": {"app": "engine"}},
        },
        "delay": {"latency": "50ms", "jitter": "0ms", "correlation": "0"},
        "duration": "60s",
    }


@pytest.mark.parametrize(("direction", "expected_s"), [("to", 0.05), ("from", 0.05), ("both", 0.1)])
def test_a_delay_is_felt_between_its_pods_only_and_gone_when_deleted(
    rig: "Rig", api: ApiProcess, tmp_path: Path, direction: str, expected_s: float
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=OCTETS[direction]) as machine:
            optin = {"metadata": {"annotations": {"chaos-mesh.org/inject": "enabled"}}}
            await machine.kube.patch(NAMESPACES, None, "default", optin)
            for name in ("gateway-0", "engine-0", "load-0"):
                await machine.create(name)
            for name in ("gateway-0", "engine-0", "load-0"):
                await machine.until_ready(name)
            clean_s = await round_trip_s(rig, machine, "gateway-0", "engine-0")
            assert clean_s < 0.02
            body = {"metadata": {"name": "slow"}, "spec": spec(direction)}
            await machine.kube.create(NETWORK_CHAOS, "default", body)

            async def injected() -> bool:
                found = await machine.kube.get(NETWORK_CHAOS, "default", "slow")
                conditions = (found.get("status") or {}).get("conditions") or []
                return {"type": "AllInjected", "status": "True"} in conditions

            await wait_until_async(injected, what="the delay to be injected", timeout_s=15, every_s=0.02)
            slow_s = await round_trip_s(rig, machine, "gateway-0", "engine-0")
            assert expected_s <= slow_s < expected_s + 0.02
            assert await round_trip_s(rig, machine, "load-0", "engine-0") < 0.02
            await machine.kube.delete(NETWORK_CHAOS, "default", "slow")

            async def clean() -> bool:
                return await round_trip_s(rig, machine, "gateway-0", "engine-0") < 0.02

            await wait_until_async(clean, what="the delay to be gone", timeout_s=15)

    asyncio.run(scenario())
