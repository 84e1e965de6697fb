"""The process that is a lab: it starts every part, waits until all of it works, and ends all of it.

                                  supervisor (link, node and mesh run inside)
                                  |-- Kubernetes API
                                  `-- one process per pod, by way of the node; Prometheus first: its first
                                      sample takes 5-6 s

Every child is tied to this process by the kernel, so a lab that is killed leaves nothing behind. A start is a
race of independent parts; each wait in it has a name and a limit, and what failed first is the sentence the
user reads.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from resync.kits.processes import start_ticks
from resync.kits.waits import WaitTimeoutError
from resync.lab import addresses, parts, prometheus, state
from resync.lab.addresses import Block
from resync.lab.errors import LabError, LabStartError
from resync.lab.kube import PODS, KubeError
from resync.lab.lifetime import watched
from resync.lab.manifests import NAMESPACE, PORTS, pods_of, targets_of
from resync.lab.monitoring import PORT, Monitoring
from resync.lab.orders import Order
from resync.lab.prometheus import PrometheusError
from resync.lab.state import LabState
from resync.lab.workspace import Workspace

START_TIMEOUT_S = 60.0
FOREIGN_START_TIMEOUT_S = 270.0
"""Under the 300 s that who asked for the lab waits for an answer."""
END_TIMEOUT_S = 2.5
MARKER = "RESYNC_LAB"
"""Every process of a lab carries this variable, with a value of the lab's own."""

_LOG_FORMAT = "%(asctime)s %(name)s: %(message)s"
_EXPECTED = (LabError, PrometheusError, KubeError, WaitTimeoutError, OSError)


def supervise(order: Order, announce: Callable[[LabState], None]) -> None:
    """Be a lab until it is asked to end. `announce` is called once, when it is ready.

    Raises:
        LabError: it did not come up, or a part ended that a lab cannot be without; everything is torn down.
    """
    os.environ[MARKER] = secrets.token_hex(8)
    try:
        # Before the loop: fetching it on a fresh machine takes seconds, and Ctrl-C must end that at once.
        binary = prometheus.find_binary()
        asyncio.run(_until_ended(order, binary, announce))
    except BaseExceptionGroup as group:
        _raise_first(group)
    except _EXPECTED as error:
        raise _as_lab_error(error) from error


async def _until_ended(order: Order, binary: Path, announce: Callable[[LabState], None]) -> None:
    with watched(order.owner_pid) as ending:
        life = asyncio.create_task(_life(order, binary, announce), name="the lab")
        asked = asyncio.create_task(ending.wait(), name="ending")
        await asyncio.wait({life, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        await _end(life, order.path)


async def _end(life: asyncio.Task[None], directory: Path) -> None:
    """Its own error, if it has ended by one; else torn down within the limit, by the kernel if need be."""
    life.cancel()
    await asyncio.wait({life}, timeout=END_TIMEOUT_S)
    if not life.done():
        state.forget(directory)
        os._exit(1)  # what is tied to this process ends with it
    with suppress(asyncio.CancelledError):
        life.result()


async def _life(order: Order, binary: Path, announce: Callable[[LabState], None]) -> None:
    with state.held(order.path), addresses.claimed([*PORTS, PORT]) as block:
        pods, monitoring = pods_of(order.options, block), Monitoring(block)
        workspace = Workspace.fresh(order.path)
        # Node and mesh talk into a file: standard error is for the one sentence a user reads.
        logging.basicConfig(filename=workspace.logs / "lab.log", level=logging.INFO, format=_LOG_FORMAT)
        command = prometheus.prepared(
            binary, workspace.prometheus, targets_of(pods), listen=monitoring.listen
        )
        try:
            async with parts.running(order.options, workspace, block) as kube:
                limit_s = FOREIGN_START_TIMEOUT_S if order.options.foreign else START_TIMEOUT_S
                async with asyncio.timeout(limit_s):
                    await kube.create(PODS, NAMESPACE, monitoring.manifest(command))
                    gateway_url = await parts.ready(kube, order.options, workspace, pods, monitoring.url)
                found = _lab_state(block, workspace, monitoring.url, gateway_url)
                state.write(order.path, found)
                announce(found)
                await asyncio.Event().wait()
        finally:
            workspace.discard_data()


def _lab_state(block: Block, workspace: Workspace, prometheus_url: str, gateway_url: str) -> LabState:
    return LabState(
        pid=os.getpid(),
        pid_start_ticks=start_ticks(os.getpid()),
        kubeconfig=str(workspace.kubeconfig),
        prometheus_url=prometheus_url,
        gateway_url=gateway_url,
        namespace=NAMESPACE,
        started_s=time.time(),
        link_cidr=block.cidr,
    )


def _raise_first(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """What a user can act on is said in its own words; anything else is our defect, with its traceback."""
    expected, unexpected = group.split(_EXPECTED)
    if unexpected is not None or expected is None:
        raise group
    first: BaseException = expected
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    raise _as_lab_error(first) from group


def _as_lab_error(error: BaseException) -> LabError:
    return error if isinstance(error, LabError) else LabStartError(str(error))
