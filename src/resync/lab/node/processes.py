"""Which process each container of this node is, for as long as it runs."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from resync.lab.node import containers
from resync.lab.node.errors import NoSuchPodError


class Processes:
    """The running containers, by pod uid and container name."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    @contextmanager
    def running(self, pod_uid: str, container: str, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """It runs as long as this lasts."""
        self._running[pod_uid, container] = process
        try:
            yield
        finally:
            del self._running[pod_uid, container]

    def kill(self, pod_uid: str, container: str) -> None:
        """SIGKILL, to all of it. Raises NoSuchPodError when it does not run; nothing is killed then."""
        process = self._running.get((pod_uid, container))
        if process is None:
            raise NoSuchPodError(f"no container {container} of pod {pod_uid} runs here now")
        containers.send(process, signal.SIGKILL)
