"""No process of a pod outlives the process the node runs in, however that one dies."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resync.kits.waits import wait_until
from resync.lab.api.process import ApiProcess
from resync.lab.kube import PODS, Kube

if TYPE_CHECKING:
    from tests.node.conftest import Rig

pytestmark = pytest.mark.integration

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from resync.kits.clocks import SystemClock
from resync.lab.link import Link
from resync.lab.node import Processes, run_node

async def main():
    kubeconfig, logs = map(Path, sys.argv[1:])
    async with Link(seed=1) as link:
        await run_node(kubeconfig, link, Processes(), clock=SystemClock(), cidr="127.249.0.0/16", logs=logs)

asyncio.run(main())
"""

# A pod with a child, a grandchild that has left the session, and no wish to end.
FAMILY = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, "-c", open("/proc/self/cmdline").read().split(chr(0))[2], "child"])
    subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
signal.pause()
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT], ids=lambda number: number.name
)
def test_nothing_of_a_pod_is_left(
    rig: "Rig", api: ApiProcess, tmp_path: Path, number: signal.Signals
) -> None:
    # A name of this run: what an earlier, failed run left behind is not this one's.
    name = f"family-{number.name.lower()}-{os.getpid()}"
    mark = f"POD_NAME={name}\0"

    async def create() -> None:
        async with Kube.connect(api.kubeconfig) as kube:
            container = {"name": "main", "image": "none", "command": ["python", "-c", FAMILY]}
            body = {"metadata": {"name": name}, "spec": {"containers": [container]}}
            await kube.create(PODS, "default", body)

    asyncio.run(create())
    command = [sys.executable, "-c", SUPERVISOR, str(api.kubeconfig), str(tmp_path)]
    with subprocess.Popen(command) as supervisor:
        try:
            wait_until(lambda: len(rig.marked_processes(mark)) >= 3, what="the family to run", timeout_s=15)
            os.kill(supervisor.pid, number)
            wait_until(lambda: not rig.marked_processes(mark), what="nothing to be left", timeout_s=5)
        finally:
            supervisor.kill()
