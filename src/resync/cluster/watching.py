"""A namespace's pods, kept up to date, delivered whole.

The API offers a list and then changes to it; a subscriber wants to know what is there now. So a thread lists,
follows the watch, and hands every change to an asyncio loop as a complete snapshot: the receiver never has to
apply a change, and losing one costs nothing. Whatever goes wrong (410, a restart of the API server, silence,
an undecodable line), the answer is the same: say so, wait a little longer each time, list again. Rules of
list and watch: Kubernetes API concepts, "Efficient detection of changes".

The thread ends by itself soon after `stop()`: the blocking read is shut down, and the back-off waits on the
stop flag.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import urllib3

from resync.cluster import answers, errors
from resync.cluster.connecting import Cluster, StreamingAnswer, decoded
from resync.cluster.pods import Pod, PodListWire, PodWire, pods_path

log = logging.getLogger(__name__)

WATCH_S = 60
SILENCE_S = WATCH_S + 10.0
BACK_OFF_S_MIN = 0.1
BACK_OFF_S_MAX = 2.0
CALL_S_MAX = 3.0
STOP_S_MAX = 8.0
LINE_BYTES_MAX = 8 << 20

OnPods = Callable[[tuple[Pod, ...]], None]


class _Change(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _ErrorStatus(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


class PodWatch:
    """Follows the pods of a namespace that match a label selector, until stopped.

    `on_pods` is called in the event loop that is running when `start` is called, first with the listed pods
    (an empty tuple too), then after every change, always with all of them, sorted by name. Use as `async with
    PodWatch(...)`, or `start()` and `stop()`. A kubeconfig of None means the pod's own credentials.
    """

    def __init__(
        self, kubeconfig: Path | None, namespace: str, label_selector: str = "", *, on_pods: OnPods
    ) -> None:
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self._label_selector = label_selector
        self._on_pods = on_pods
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._answer: StreamingAnswer | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pods: dict[str, Pod] = {}
        self._delivered: tuple[Pod, ...] | None = None
        self.relists = 0
        self.last_problem: str | None = None

    def start(self) -> None:
        """Begin. Raises KubeconfigError for an unusable kubeconfig, RuntimeError outside an event loop."""
        self._loop = asyncio.get_running_loop()
        cluster = Cluster.connect(self._kubeconfig, timeout_s=CALL_S_MAX)
        self._thread = threading.Thread(target=self._run, args=(cluster,), name="pod-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it. Raises RuntimeError when it does not end within STOP_S_MAX."""
        self._stopped.set()
        with self._lock:
            if self._answer is not None:
                _unblock(self._answer)
        if self._thread is not None:
            self._thread.join(STOP_S_MAX)
            if self._thread.is_alive():
                raise RuntimeError(
                    f"the pod watch did not end within {STOP_S_MAX:g} s: this is a bug, please report"
                )

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _run(self, cluster: Cluster) -> None:
        back_off_s = BACK_OFF_S_MIN
        try:
            while not self._stopped.is_set():
                began = time.monotonic()
                self._attempt(cluster)
                healthy = time.monotonic() - began > BACK_OFF_S_MAX
                back_off_s = BACK_OFF_S_MIN if healthy else min(back_off_s * 2, BACK_OFF_S_MAX)
                self._stopped.wait(back_off_s)
        finally:
            cluster.close()
            if not self._stopped.is_set():
                log.critical(
                    "the pod watch of %s ended by itself: this is a bug, please report", self._namespace
                )

    def _attempt(self, cluster: Cluster) -> None:
        """List and follow, until stopped or until something goes wrong, which is noted."""
        try:
            self._follow(cluster, self._list(cluster))
        except errors.ClusterError as problem:
            self._note(problem)

    def _note(self, problem: errors.ClusterError) -> None:
        if not self._stopped.is_set() and str(problem) != self.last_problem:
            self.last_problem = str(problem)
            log.warning("watching pods in %s: %s; listing again", self._namespace, problem)

    def _query(self, **more: str) -> dict[str, str]:
        selector = {"labelSelector": self._label_selector} if self._label_selector else {}
        return {**selector, **more}

    def _list(self, cluster: Cluster) -> str:
        found = cluster.get(pods_path(self._namespace), PodListWire, self._query())
        self._pods = {pod.name: pod for pod in (item.record() for item in found.items)}
        self.relists += 1
        self._deliver()
        return found.metadata.resource_version

    def _follow(self, cluster: Cluster, version: str) -> None:
        """Apply changes until the server ends the watch; then go on from the last version seen."""
        while not self._stopped.is_set():
            query = self._query(watch="true", resourceVersion=version, timeoutSeconds=str(WATCH_S))
            query["allowWatchBookmarks"] = "true"
            answer = cluster.stream(pods_path(self._namespace), query, silence_s=SILENCE_S)
            with self._lock:
                # Whoever stopped us while the connection was being made found no answer to unblock.
                self._answer = None if self._stopped.is_set() else answer
            try:
                if self._answer is None:
                    return
                for line in _lines(answer, cluster.host):
                    if self._stopped.is_set():
                        return
                    version = self._apply(line) or version
            finally:
                with self._lock:
                    self._answer = None
                answer.close()
            # A server that ends every watch at once must not make us spin.
            self._stopped.wait(BACK_OFF_S_MIN)

    def _apply(self, line: bytes) -> str:
        change = decoded(line, _Change, "a watch of pods")
        if change.type == "ERROR":
            status = decoded(bytes(change.object), _ErrorStatus, "a watch of pods")
            raise answers.error_for(status.code, bytes(change.object), "a watch of pods")
        wire = decoded(bytes(change.object), PodWire, "a watch of pods")
        if change.type != "BOOKMARK":
            self._change(change.type, wire.record())
        return wire.metadata.resource_version

    def _change(self, kind: str, pod: Pod) -> None:
        if kind == "DELETED":
            self._pods.pop(pod.name, None)
        else:
            self._pods[pod.name] = pod
        self._deliver()

    def _deliver(self) -> None:
        snapshot = tuple(sorted(self._pods.values(), key=lambda pod: pod.name))
        if snapshot == self._delivered or self._stopped.is_set() or self._loop is None:
            return
        self._delivered = snapshot
        try:
            self._loop.call_soon_threadsafe(self._on_pods, snapshot)
        except RuntimeError:
            # The loop was closed without stopping us: nobody is left to tell.
            self._stopped.set()


def _unblock(answer: StreamingAnswer) -> None:
    try:
        answer.shutdown()
    except (RuntimeError, ValueError, OSError) as ended:
        # The stream ended on its own at this very moment: there is no read left to unblock.
        log.debug("nothing to unblock: %s", ended)


def _lines(answer: StreamingAnswer, host: str) -> Iterator[bytes]:
    """The complete lines of a stream as they arrive.

    Raises NoAnswerError when it breaks or grows past its limit.
    """
    held = b""
    while True:
        try:
            chunk = answer.read1(65536)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as problem:
            raise errors.NoAnswerError(f"the watch on {host} broke: {problem}") from problem
        if not chunk:
            return
        *whole, held = (held + chunk).split(b"\n")
        yield from (line for line in whole if line)
        if len(held) > LINE_BYTES_MAX:
            raise errors.NoAnswerError(f"a watch event of {host} passes {LINE_BYTES_MAX} bytes")
