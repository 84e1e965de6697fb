"""A lab as a program holds it: started for as long as that program runs, its pods exchanged at will.

For tests and benchmarks. Everything goes over the wire: the command `resync lab up`, the Kubernetes API,
Prometheus.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import msgspec
import requests

from resync.cluster.connecting import Cluster
from resync.cluster.pods import list_pods
from resync.kits.waits import wait_until
from resync.lab import children, exchanging, readiness
from resync.lab.errors import LabStartError
from resync.lab.exchanging import Original
from resync.lab.starting import ANSWER_TIMEOUT_S, line_within
from resync.lab.state import LabState

REPLACED_TIMEOUT_S = 30.0
ENDED_TIMEOUT_S = 10.0
_ASK_TIMEOUT_S = 5.0
_RESYNC = (sys.executable, "-c", "from resync.cli import main; main()")


class Sample(msgspec.Struct, frozen=True):
    """One series of an instant query: its labels, and (time in epoch seconds, value as text)."""

    metric: dict[str, str]
    value: tuple[float, str]

    @property
    def number(self) -> float:
        """The value."""
        return float(self.value[1])


@dataclass(frozen=True, slots=True)
class LabHandle:
    """A running lab. `env` is what a child process needs to find it, on top of this process's environment."""

    state: LabState
    state_dir: Path
    env: Mapping[str, str] = field(repr=False)
    _given: dict[str, Original] = field(default_factory=dict, repr=False)
    """The pods that were exchanged, as they were."""

    @property
    def kubeconfig(self) -> Path:
        """How to reach its Kubernetes API."""
        return Path(self.state.kubeconfig)

    @property
    def prometheus_url(self) -> str:
        """Its Prometheus."""
        return self.state.prometheus_url

    @property
    def gateway_url(self) -> str:
        """Its gateway."""
        return self.state.gateway_url

    @property
    def namespace(self) -> str:
        """Where its pods are."""
        return self.state.namespace

    def cluster(self) -> Cluster:
        """A new connection to its Kubernetes API, for a `with`."""
        return Cluster.connect(self.kubeconfig)

    def query(self, expression: str) -> list[Sample]:
        """The series of an instant query, now. Raises requests.RequestException."""
        return _query(self.prometheus_url, expression)

    def replace_pod(
        self, name: str, extra_args: Sequence[str] = (), *, with_events: bool = True, ready: bool = True
    ) -> None:
        """Exchange the pod for one with `extra_args` appended to the arguments it had at first.

        Of a StatefulSet only this pod is exchanged, and whoever kills it meets such a one again. Returns when
        it is Ready, Prometheus has seen the new process, and the gateway follows every engine;
        `with_events=False`: without having applied a batch of each; `ready=False`: returns once it is
        created. Raises ClusterError, WaitTimeoutError.
        """
        with self.cluster() as cluster:
            original = self._given.setdefault(name, exchanging.original(cluster, self.namespace, name))
            exchanging.exchange(cluster, self.namespace, name, original.with_args(extra_args))
            if ready:
                self._await_replaced(cluster, name, time.time(), with_events=with_events)

    @contextmanager
    def replaced(self, name: str, extra_args: Sequence[str], *, with_events: bool = True) -> Iterator[None]:
        """`replace_pod`, and every exchanged pod in its first form again at the end of the `with`."""
        try:
            self.replace_pod(name, extra_args, with_events=with_events)
            yield
        finally:
            self.restore()

    def restore(self) -> None:
        """Give every exchanged pod back its first form. Raises as `replace_pod`."""
        for name in list(self._given):
            with self.cluster() as cluster:
                exchanging.exchange(cluster, self.namespace, name, self._given[name])
                self._await_replaced(cluster, name, time.time(), with_events=True)
            del self._given[name]

    def _await_replaced(self, cluster: Cluster, name: str, since_s: float, *, with_events: bool) -> None:
        for what, condition in (
            (f"pod {name} to be Ready", lambda: _is_ready(cluster, self.namespace, name)),
            (f"Prometheus to scrape the new {name}", lambda: self._is_scraped(name, since_s)),
            ("the gateway to follow every engine", lambda: self._follows(cluster, with_events=with_events)),
        ):
            wait_until(condition, what=what, timeout_s=REPLACED_TIMEOUT_S, every_s=0.1)

    def _is_scraped(self, name: str, since_s: float) -> bool:
        seen = self.query(f'(up{{pod="{name}"}} == 1) and (timestamp(up{{pod="{name}"}}) > {since_s:.3f})')
        return bool(seen)

    def _follows(self, cluster: Cluster, *, with_events: bool) -> readiness.Missing:
        try:
            answer = requests.get(f"{self.gateway_url}/index", timeout=_ASK_TIMEOUT_S)
        except requests.RequestException:
            return readiness.Missing(("the gateway's answer",))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return readiness.Missing(())  # no index view, so nobody can tell
        engines = [
            f"{self.namespace}/{pod.name}"
            for pod in list_pods(cluster, self.namespace, "model.aibrix.ai/name")
        ]
        return readiness.not_followed(answer.content, engines, with_events=with_events)


@contextmanager
def running_lab(state_dir: Path, *options: str) -> Iterator[LabHandle]:
    """A lab of our own in that state directory, started with those options of `resync lab up`.

    It ends with the `with`, and with this process whatever happens.

    Raises:
        LabStartError: it did not come up, with the sentence it said.
    """
    env = {**os.environ, "RESYNC_STATE_DIR": str(state_dir)}
    command = [*_RESYNC, "lab", "up", "--json", "--owner-pid", str(os.getpid()), *options]
    state_dir.mkdir(parents=True, exist_ok=True)
    log = state_dir / "supervisor.log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=stderr) as lab,
    ):
        try:
            yield _handle_of(lab, log, state_dir, env)
        finally:
            children.end(lab, ENDED_TIMEOUT_S)


def _handle_of(lab: subprocess.Popen[bytes], log: Path, state_dir: Path, env: Mapping[str, str]) -> LabHandle:
    assert lab.stdout is not None
    line = line_within(lab.stdout.fileno(), ANSWER_TIMEOUT_S)
    if not line:
        raise LabStartError(children.last_line(log))
    return LabHandle(msgspec.json.decode(line, type=LabState), state_dir, env)


def _query(url: str, expression: str) -> list[Sample]:
    answer = requests.get(f"{url}/api/v1/query", params={"query": expression}, timeout=_ASK_TIMEOUT_S)
    answer.raise_for_status()
    return msgspec.convert(answer.json()["data"]["result"], list[Sample])


def _is_ready(cluster: Cluster, namespace: str, name: str) -> bool:
    return any(pod.name == name and pod.ready for pod in list_pods(cluster, namespace))
