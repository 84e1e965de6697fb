"""PodChaos and partitions from the object to the process: mesh, daemon, node and link together.

Nobody watches over these experiments: whoever created them is gone, and they end by themselves.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resync.kits.waits import wait_until_async
from resync.lab.api.process import ApiProcess
from resync.lab.kube import NAMESPACES, NETWORK_CHAOS, POD_CHAOS, PODS, NotFoundError, Object, Resource

if TYPE_CHECKING:
    from tests.node.conftest import Machine, Rig

pytestmark = pytest.mark.integration

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
signal.pause()
"""


def pod_chaos(action: str, app: str, **more: object) -> Object:
    return {"action": action, "mode": "all", "selector": {"labelSelectors": {"app": app}}, **more}


async def open_namespace(machine: "Machine") -> None:
    optin = {"metadata": {"annotations": {"chaos-mesh.org/inject": "enabled"}}}
    await machine.kube.patch(NAMESPACES, None, "default", optin)


async def inject(
    machine: "Machine", kind: Resource, spec: Object, annotations: dict[str, str] | None = None
) -> Object:
    """The experiment once it is injected everywhere."""
    body = {"metadata": {"name": "x", "annotations": annotations or {}}, "spec": spec}
    await machine.kube.create(kind, "default", body)

    async def injected() -> Object | None:
        found = await machine.kube.get(kind, "default", "x")
        conditions = (found.get("status") or {}).get("conditions") or []
        return found if {"type": "AllInjected", "status": "True"} in conditions else None

    found = await wait_until_async(injected, what="the fault to be injected", timeout_s=15, every_s=0.02)
    assert found is not None
    return found


async def is_refused(rig: "Rig", machine: "Machine", name: str) -> bool:
    """Whether a request to the pod is turned away, as by a host on whose port nobody listens."""
    address = (await machine.pod(name))["status"]["podIP"]
    try:
        reader, writer = await asyncio.open_connection(address, rig.port)
        writer.write(b"ping")
        answer = await reader.read(4)
        writer.close()
    except ConnectionError:
        return True
    return answer != b"ping"


def test_pod_failure_keeps_the_pod_and_its_address_restarts_the_process_and_ends_by_itself(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=230) as machine:
            await open_namespace(machine)
            await machine.create("victim-0", terminationGracePeriodSeconds=1)
            before = await machine.until_ready("victim-0")
            await inject(machine, POD_CHAOS, pod_chaos("pod-failure", "victim", duration="8s"))

            def down(found: Object) -> bool:
                state = rig.container_status(found).get("state", {})
                return bool(state.get("waiting", {}).get("reason") == "RunContainerError")

            # The container has a command of its own, which the image of the fault does not hold.
            during = await machine.until("victim-0", down, what="down")
            assert not rig.is_ready(during)
            assert during["status"]["phase"] == "Running"
            assert rig.container_status(during)["restartCount"] >= 1
            assert "/pause:" in during["spec"]["containers"][0]["image"]
            assert await is_refused(rig, machine, "victim-0")
            after = await machine.until_ready("victim-0")
            assert rig.container_status(after)["restartCount"] > rig.container_status(during)["restartCount"]
            assert after["spec"] == before["spec"]
            assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
            for found in (during, after):
                assert found["metadata"]["uid"] == before["metadata"]["uid"]
                assert found["status"]["podIP"] == before["status"]["podIP"]
            assert not await is_refused(rig, machine, "victim-0")
            assert machine.log("victim-0").count("serving victim-0") == 2

    asyncio.run(scenario())


def test_a_container_without_a_command_of_its_own_sleeps_and_without_a_probe_counts_as_ready(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=231) as machine:
            await open_namespace(machine)
            container: Object = {"name": "main", "image": "some", "ports": [{"containerPort": rig.port}]}
            container["args"] = ["python", "-c", rig.echo]
            body = {"metadata": {"name": "plain-0", "labels": {"app": "plain"}}}
            await machine.kube.create(PODS, "default", {**body, "spec": {"containers": [container]}})
            await machine.until_ready("plain-0")
            await inject(machine, POD_CHAOS, pod_chaos("pod-failure", "plain", duration="60s"))

            once = count_is(rig, 1)
            asleep = await machine.until(
                "plain-0", lambda pod: once(pod) and rig.is_ready(pod), what="one restart, and ready again"
            )
            assert "running" in rig.container_status(asleep)["state"]
            assert await is_refused(rig, machine, "plain-0")
            await machine.kube.delete(POD_CHAOS, "default", "x")
            await machine.until("plain-0", count_is(rig, 2), what="two restarts")
            asleep_before = rig.container_status(await machine.pod("plain-0"))["lastState"]["terminated"]
            assert asleep_before["exitCode"] == 0

    asyncio.run(scenario())


def test_one_failure_after_the_other_does_not_make_the_return_slower(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=236) as machine:
            await open_namespace(machine)
            await machine.create("often-0", terminationGracePeriodSeconds=1)
            await machine.until_ready("often-0")
            for _ in range(6):
                await inject(machine, POD_CHAOS, pod_chaos("pod-failure", "often", duration="60s"))
                await machine.until("often-0", lambda found: not rig.is_ready(found), what="down")
                healed_at = datetime.now(UTC)
                await machine.kube.delete(POD_CHAOS, "default", "x")
                back = await machine.until("often-0", rig.is_ready, what="back")
                # Counted back-off would have it wait for 8 s the sixth time.
                assert rig.started_at(back) - healed_at < timedelta(seconds=6)

    asyncio.run(scenario())


def test_pod_kill_gives_its_grace_and_nothing_brings_a_bare_pod_back(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=232) as machine:
            await open_namespace(machine)
            await machine.create("stubborn-1", STUBBORN, probe=False)
            await machine.until_ready("stubborn-1")

            async def up() -> bool:
                return "up" in machine.log("stubborn-1")

            await wait_until_async(up, what="the program to run", timeout_s=15)
            started_s = time.monotonic()
            # Its own grace would be 30 s. Long enough to be looked at before it is gone.
            await inject(machine, POD_CHAOS, pod_chaos("pod-kill", "stubborn", gracePeriod=3))
            going = (await machine.pod("stubborn-1"))["metadata"]
            assert going["deletionTimestamp"]
            assert going["deletionGracePeriodSeconds"] == 3
            await machine.until_gone("stubborn-1", timeout_s=15)
            assert 2.9 <= time.monotonic() - started_s < 5
            await machine.kube.delete(POD_CHAOS, "default", "x")
            await until_gone(machine, POD_CHAOS)

    asyncio.run(scenario())


def test_container_kill_restarts_in_place_and_is_over(rig: "Rig", api: ApiProcess, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=233) as machine:
            await open_namespace(machine)
            await machine.create("target-0")
            before = await machine.until_ready("target-0")
            spec = pod_chaos("container-kill", "target", containerNames=["main"])
            found = await inject(machine, POD_CHAOS, spec)
            (record,) = found["status"]["experiment"]["containerRecords"]
            assert record["id"] == "default/target-0/main"

            def again(pod: Object) -> bool:
                return rig.container_status(pod).get("restartCount") == 1 and rig.is_ready(pod)

            after = await machine.until("target-0", again, what="ready again")
            assert rig.container_status(after)["lastState"]["terminated"]["exitCode"] == 137
            assert after["status"]["podIP"] == before["status"]["podIP"]
            await machine.kube.delete(POD_CHAOS, "default", "x")
            await until_gone(machine, POD_CHAOS)
            assert rig.container_status(await machine.pod("target-0"))["restartCount"] == 1

    asyncio.run(scenario())


def count_is(rig: "Rig", count: int) -> Callable[[Object], bool]:
    return lambda found: rig.container_status(found).get("restartCount") == count


async def until_gone(machine: "Machine", kind: Resource) -> None:
    async def gone() -> bool:
        with suppress(NotFoundError):
            await machine.kube.get(kind, "default", "x")
            return False
        return True

    await wait_until_async(gone, what="the experiment to be gone", timeout_s=15, every_s=0.02)


def partition(**more: object) -> Object:
    target = {"mode": "all", "selector": {"labelSelectors": {"app": "engine"}}}
    spec = {"action": "partition", "mode": "all", "selector": {"labelSelectors": {"app": "gateway"}}}
    return {**spec, "direction": "both", "target": target, **more}


async def connect(
    rig: "Rig", machine: "Machine", source: str, target: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    pod_ip = (await machine.pod(target))["status"]["podIP"]
    own_ip = (await machine.pod(source))["status"]["podIP"].replace(".0.", ".1.", 1)
    return await asyncio.open_connection(pod_ip, rig.port, local_addr=(own_ip, 0))


async def two_pods(machine: "Machine") -> None:
    await open_namespace(machine)
    for name in ("gateway-0", "engine-0"):
        await machine.create(name)
    for name in ("gateway-0", "engine-0"):
        await machine.until_ready(name)


def test_a_partition_is_silence_until_its_time_is_up(rig: "Rig", api: ApiProcess, tmp_path: Path) -> None:
    async def late_s(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        sent_s = time.monotonic()
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        return time.monotonic() - sent_s

    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=234) as machine:
            await two_pods(machine)
            pairs = [await connect(rig, machine, "gateway-0", "engine-0") for _ in range(3)]
            await inject(machine, NETWORK_CHAOS, partition(duration="5s"))
            connecting = asyncio.create_task(connect(rig, machine, "gateway-0", "engine-0"))
            answers = []
            for pair in pairs:
                answers.append(asyncio.create_task(late_s(*pair)))
                done, _ = await asyncio.wait({connecting, *answers}, timeout=0.3)
                assert not done
            # Tried again after 0.2, 0.6, 1.4, 3.0 s; the duration is counted in whole seconds from creation.
            late = await asyncio.gather(*answers)
            assert min(late) >= 1.4
            # A stall only adds, and three that were sent apart do not come back in the same one.
            assert min(each_s - at_s for each_s in late for at_s in (1.4, 3.0, 6.2) if each_s >= at_s) < 0.2
            _, again = await connecting
            for each in (*(writer for _, writer in pairs), again):
                each.close()
            for name in ("gateway-0", "engine-0"):
                found = await machine.pod(name)
                assert rig.is_ready(found)
                assert rig.container_status(found)["restartCount"] == 0

    asyncio.run(scenario())


def test_a_partition_that_resets_ends_the_connection_and_lets_in_no_other(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=235) as machine:
            await two_pods(machine)
            reader, writer = await connect(rig, machine, "gateway-0", "engine-0")
            writer.write(b"ping")
            await reader.readexactly(4)
            annotations = {"resync.dev/partition": "reset"}
            await inject(machine, NETWORK_CHAOS, partition(duration="60s"), annotations)
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            connecting = asyncio.create_task(connect(rig, machine, "gateway-0", "engine-0"))
            done, _ = await asyncio.wait({connecting}, timeout=0.3)
            assert not done
            await machine.kube.delete(NETWORK_CHAOS, "default", "x")
            reader, again = await connecting
            again.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
            for each in (writer, again):
                each.close()

    asyncio.run(scenario())
