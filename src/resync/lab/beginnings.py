"""The first moments of a lab: its files, its plan, and Prometheus, whose first five seconds run from here on.

Nothing here needs the Kubernetes API, its clients or an event loop, so nothing of them is imported.
"""

import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from resync.lab import prometheus
from resync.lab.addresses import Block
from resync.lab.manifests import PodPlan, pods_of, targets_of
from resync.lab.monitoring import KEY, Monitoring
from resync.lab.orders import Order
from resync.lab.workspace import Workspace

_LOG_FORMAT = "%(asctime)s %(name)s: %(message)s"


@dataclass(frozen=True, slots=True)
class Beginning:
    """A lab of which only Prometheus runs."""

    order: Order
    block: Block
    workspace: Workspace
    pods: tuple[PodPlan, ...]
    monitoring: Monitoring
    command: list[str]
    begun: dict[str, subprocess.Popen[bytes]]
    """Prometheus' process, by its pod's key."""


@contextmanager
def begun(order: Order, block: Block) -> Iterator[Beginning]:
    """The beginning of that lab, in that block. On the main thread: Prometheus is tied to it.

    Raises PrometheusError, OSError.
    """
    # Fetching it on a fresh machine takes seconds; no event loop holds a Ctrl-C back meanwhile.
    binary = prometheus.find_binary()
    pods, monitoring = pods_of(order.options, block), Monitoring(block)
    workspace = Workspace.fresh(order.path)
    # Node and mesh talk into a file: standard error is for the one sentence a user reads.
    logging.basicConfig(filename=workspace.logs / "lab.log", level=logging.INFO, format=_LOG_FORMAT)
    command = prometheus.prepared(binary, workspace.prometheus, targets_of(pods), listen=monitoring.listen)
    try:
        with monitoring.started(command, workspace.logs) as process:
            yield Beginning(order, block, workspace, pods, monitoring, command, {KEY: process})
    finally:
        workspace.discard_data()
