"""A lab's life in one event loop: from Prometheus alone to ready, until it is asked to end.

A start is a race of independent parts; each wait in it has a name and a limit, and what failed first is the
sentence the user reads.
"""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from resync.kits import programs
from resync.kits.processes import start_ticks
from resync.kits.waits import WaitTimeoutError
from resync.lab import parts, state
from resync.lab.beginnings import Beginning
from resync.lab.errors import LabError, LabStartError
from resync.lab.kube import PODS, KubeError
from resync.lab.lifetime import watched
from resync.lab.manifests import NAMESPACE
from resync.lab.state import LabState

START_TIMEOUT_S = 60.0
FOREIGN_START_TIMEOUT_S = 270.0
"""Under the 300 s that who asked for the lab waits for an answer."""
END_TIMEOUT_S = 2.5

_EXPECTED = (LabError, KubeError, WaitTimeoutError, OSError)


def live(beginning: Beginning, announce: Callable[[LabState], None]) -> None:
    """Bring the lab up, announce it, and keep it until its end is asked for.

    Raises:
        LabError: it did not come up, or a part ended that a lab cannot be without.
    """
    try:
        programs.run(_until_ended(beginning, announce))
    except BaseExceptionGroup as group:
        _raise_first(group)
    except _EXPECTED as error:
        raise _as_lab_error(error) from error


async def _until_ended(beginning: Beginning, announce: Callable[[LabState], None]) -> None:
    with watched(beginning.order.owner_pid) as ending:
        life = asyncio.create_task(_life(beginning, announce), name="the lab")
        asked = asyncio.create_task(ending.wait(), name="ending")
        await asyncio.wait({life, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        await _end(life, beginning.order.path)


async def _end(life: asyncio.Task[None], directory: Path) -> None:
    """Its own error, if it has ended by one; else torn down within the limit, by the kernel if need be."""
    life.cancel()
    await asyncio.wait({life}, timeout=END_TIMEOUT_S)
    if not life.done():
        state.forget(directory)
        os._exit(1)  # what is tied to this process ends with it
    with suppress(asyncio.CancelledError):
        life.result()


async def _life(beginning: Beginning, announce: Callable[[LabState], None]) -> None:
    options, workspace = beginning.order.options, beginning.workspace
    monitoring = beginning.monitoring
    async with parts.running(options, workspace, beginning.block, beginning.begun) as kube:
        limit_s = FOREIGN_START_TIMEOUT_S if options.foreign else START_TIMEOUT_S
        async with asyncio.timeout(limit_s):
            await kube.create(PODS, NAMESPACE, monitoring.manifest(beginning.command))
            gateway_url = await parts.ready(kube, options, workspace, beginning.pods, monitoring.url)
        found = _lab_state(beginning, gateway_url)
        state.write(beginning.order.path, found)
        announce(found)
        await asyncio.Event().wait()


def _lab_state(beginning: Beginning, gateway_url: str) -> LabState:
    return LabState(
        pid=os.getpid(),
        pid_start_ticks=start_ticks(os.getpid()),
        kubeconfig=str(beginning.workspace.kubeconfig),
        prometheus_url=beginning.monitoring.url,
        gateway_url=gateway_url,
        namespace=NAMESPACE,
        started_s=time.time(),
        link_cidr=beginning.block.cidr,
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
