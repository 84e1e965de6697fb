"""The pod that Prometheus runs in: started by the node, again in place when it ends, with what it has stored.

It listens on the address where its process really is, and scrapes from no pod's address: what measures goes
past the link. A fault of the pod takes it away, one of the network does not reach it.

Its process is older than its pod. The first sample comes on a ticker, five seconds after the program's start,
whatever else is there by then; so it is started before everything else, and the node takes it over.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resync.lab import children
from resync.lab.addresses import Block
from resync.lab.manifests import GRACE_S, NAMESPACE, ROLE_LABEL
from resync.lab.metadata import ADDRESS

NAME = "prometheus-0"
KEY = f"{NAMESPACE}/{NAME}"
NUMBER = 150
"""The last octet of its addresses."""

PORT = 9190
"""Not 9090, which a system's own Prometheus would hold on every address."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Prometheus in one lab, before it exists."""

    block: Block

    @property
    def listen(self) -> str:
        """Where its server listens, host:port."""
        return f"{self.block.bind_ip(NUMBER)}:{PORT}"

    @property
    def url(self) -> str:
        """Where it answers queries."""
        return f"http://{self.listen}"

    @contextmanager
    def started(self, command: Sequence[str], logs: Path) -> Iterator[subprocess.Popen[bytes]]:
        """The process before the pod, killed at the end of the `with`. On the main thread. Raises OSError."""
        log = logs / f"{NAMESPACE}_{NAME}.log"
        process = children.launch_apart(command, log, env=os.environ)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def manifest(self, command: Sequence[str]) -> dict[str, object]:
        """The Pod object around that command."""
        container = {
            "name": "prometheus",
            "image": "prom/prometheus",
            "command": list(command),
            "readinessProbe": {
                "httpGet": {"path": "/-/ready", "port": PORT},
                "periodSeconds": 1,
                "timeoutSeconds": 2,
            },
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"app": "prometheus", ROLE_LABEL: "prometheus"},
                "annotations": {ADDRESS: self.block.pod_ip(NUMBER)},
            },
            "spec": {
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": GRACE_S,
                "containers": [container],
            },
        }
