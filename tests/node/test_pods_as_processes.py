"""A pod is a process: started, probed, restarted, ended, and its status says so."""

import asyncio
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resync.kits.waits import wait_until_async
from resync.lab.api.process import ApiProcess
from resync.lab.kube import PODS, Object

if TYPE_CHECKING:
    from tests.node.conftest import Machine, Rig

pytestmark = pytest.mark.integration

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
signal.pause()
"""


async def pid_of(machine: "Machine", name: str) -> int:
    async def found() -> int:
        pids = machine.processes(name)
        return pids[0] if pids else 0

    return await wait_until_async(found, what=f"the process of {name}", timeout_s=15)


def test_a_pod_nobody_scheduled_becomes_a_ready_process_with_the_promised_environment(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=241) as machine:
            await machine.create("echo-0", address="127.241.0.77")
            await machine.create("echo-1")
            found = await machine.until_ready("echo-0")
            other = await machine.until_ready("echo-1")
            assert found["spec"]["nodeName"] == "lab"
            assert found["status"]["phase"] == "Running"
            assert found["status"]["podIP"] == "127.241.0.77"
            assert other["status"]["podIP"] == "127.241.0.1"
            assert rig.container_status(found)["restartCount"] == 0
            assert "running" in rig.container_status(found)["state"]
            assert machine.log("echo-0").splitlines() == ["serving echo-0 default 127.241.0.77"]
            reader, writer = await asyncio.open_connection("127.241.0.77", rig.port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()

    asyncio.run(scenario())


def test_a_killed_container_restarts_at_once_in_place_with_the_same_address(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=242) as machine:
            await machine.create("echo-0")
            before = await machine.until_ready("echo-0")
            pid = await pid_of(machine, "echo-0")
            killed_at = datetime.now(UTC)
            os.kill(pid, signal.SIGKILL)

            def restarted(found: Object) -> bool:
                return rig.container_status(found).get("restartCount") == 1 and rig.is_ready(found)

            after = await machine.until("echo-0", restarted, what="ready again")
            # By the node's own record, which holds neither the start of Python nor the probe.
            assert rig.started_at(after) - killed_at < timedelta(seconds=3)
            assert after["metadata"]["uid"] == before["metadata"]["uid"]
            assert after["status"]["podIP"] == before["status"]["podIP"]
            ended = rig.container_status(after)["lastState"]["terminated"]
            assert (ended["exitCode"], ended["reason"]) == (137, "Error")

    asyncio.run(scenario())


def test_a_container_that_keeps_failing_backs_off(rig: "Rig", api: ApiProcess, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=243) as machine:
            await machine.create("bad-0", "raise SystemExit(3)", probe=False)

            def backing_off(found: Object) -> bool:
                waiting = rig.container_status(found).get("state", {}).get("waiting", {})
                return bool(waiting.get("reason") == "CrashLoopBackOff")

            found = await machine.until("bad-0", backing_off, what="backing off")
            status = rig.container_status(found)
            assert status["restartCount"] >= 1
            assert status["lastState"]["terminated"]["exitCode"] == 3
            assert not rig.is_ready(found)

    asyncio.run(scenario())


def test_a_program_that_does_not_exist_and_an_address_of_elsewhere_are_said_in_the_status(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=244) as machine:
            body = {"containers": [{"name": "main", "image": "none", "command": ["no-such-program"]}]}
            await machine.kube.create(PODS, "default", {"metadata": {"name": "absent"}, "spec": body})
            await machine.create("lost", address="10.0.0.1")

            # A container that could not be started has ended, with a last state, so kubelet calls the pod
            # Running; one whose configuration is wrong has never been tried.
            for name, reason, phase in (
                ("absent", "RunContainerError", "Running"),
                ("lost", "CreateContainerConfigError", "Pending"),
            ):

                def says(found: Object, reason: str = reason) -> bool:
                    state = rig.container_status(found).get("state", {})
                    return bool(state.get("waiting", {}).get("reason") == reason)

                found = await machine.until(name, says, what=reason)
                assert found["status"]["phase"] == phase
            tried = rig.container_status(await machine.pod("absent"))
            assert tried["lastState"]["terminated"]["reason"] == "StartError"
            assert tried["lastState"]["terminated"]["exitCode"] == 128
            found = await machine.pod("lost")
            assert "not of this lab" in rig.container_status(found)["state"]["waiting"]["message"]

    asyncio.run(scenario())


def test_deletion_asks_first_waits_the_grace_period_and_then_kills(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def gone_after_s(machine: "Machine", name: str) -> float:
        async def up() -> bool:
            return "up" in machine.log(name)

        await wait_until_async(up, what="the program to run", timeout_s=15)
        started_s = time.monotonic()
        await machine.kube.delete(PODS, "default", name)
        assert (await machine.pod(name))["metadata"]["deletionTimestamp"]
        await machine.until_gone(name)
        took_s = time.monotonic() - started_s
        assert not machine.processes(name)
        return took_s

    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=245) as machine:
            names = [f"stubborn-{number}" for number in range(3)]
            for name in names:
                await machine.create(name, STUBBORN, probe=False, terminationGracePeriodSeconds=1)
            took = []
            for name in names:
                await machine.until_ready(name)
                took.append(await gone_after_s(machine, name))
            assert 0.9 <= min(took) < 3

    asyncio.run(scenario())


def test_a_forced_deletion_kills_at_once_and_the_address_is_free_again(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=246) as machine:
            await machine.create("echo-0", address="127.246.0.9")
            await machine.until_ready("echo-0")
            await machine.kube.delete(PODS, "default", "echo-0", grace_s=0)
            await machine.create("echo-0", address="127.246.0.9")
            found = await machine.until_ready("echo-0")
            assert found["status"]["podIP"] == "127.246.0.9"

    asyncio.run(scenario())


def test_readiness_follows_the_probe(rig: "Rig", api: ApiProcess, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=247) as machine:
            await machine.create("echo-0")
            await machine.until_ready("echo-0")
            pid = await pid_of(machine, "echo-0")
            os.kill(pid, signal.SIGSTOP)
            await machine.until("echo-0", lambda found: not rig.is_ready(found), what="unready")
            os.kill(pid, signal.SIGCONT)
            found = await machine.until_ready("echo-0")
            assert rig.container_status(found)["restartCount"] == 0

    asyncio.run(scenario())


def test_a_node_that_ends_takes_its_processes_with_it_and_a_new_one_starts_them_again(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=248) as machine:
            await machine.create("lasting-0")
            before = await machine.until_ready("lasting-0")
        assert not machine.processes("lasting-0")
        async with rig.machine(api, tmp_path, octet=248) as machine:

            def again(found: Object) -> bool:
                return rig.container_status(found).get("restartCount") == 1 and rig.is_ready(found)

            after = await machine.until("lasting-0", again, what="ready under the new node")
            assert after["status"]["podIP"] == before["status"]["podIP"]

    asyncio.run(scenario())
