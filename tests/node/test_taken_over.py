"""A container whose process is older than its pod: the node takes it over instead of starting one."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resync.lab import children
from resync.lab.api.process import ApiProcess
from resync.lab.kube import Object

if TYPE_CHECKING:
    from tests.node.conftest import Rig

pytestmark = pytest.mark.integration

OCTET = 229


def test_a_process_that_runs_already_becomes_the_pods_and_its_next_life_is_the_nodes(
    rig: "Rig", api: ApiProcess, tmp_path: Path
) -> None:
    env = {"POD_BIND_IP": f"127.{OCTET}.1.1", "POD_NAME": "elder", "POD_NAMESPACE": "?", "POD_IP": "?"}
    log = tmp_path / "default_early-0.log"
    process = children.launch_apart([sys.executable, "-u", "-c", rig.echo], log, env=env)

    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=OCTET, begun={"default/early-0": process}) as machine:
            await machine.create("early-0", address=f"127.{OCTET}.0.1")
            found = await machine.until_ready("early-0")
            assert rig.container_status(found)["restartCount"] == 0
            assert machine.log("early-0").splitlines() == ["serving elder ? ?"]
            assert not machine.processes("early-0"), "no second process was started beside it"
            os.kill(process.pid, signal.SIGKILL)

            def again(found: Object) -> bool:
                return rig.container_status(found).get("restartCount") == 1 and rig.is_ready(found)

            await machine.until("early-0", again, what="ready again")
            assert machine.log("early-0").splitlines()[1:] == [f"serving early-0 default 127.{OCTET}.0.1"]

    try:
        asyncio.run(scenario())
        assert process.returncode == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
