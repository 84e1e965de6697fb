"""The pod that Prometheus runs in: started by the node, again in place when it ends, with what it has stored.

It listens on the address where its process really is, and scrapes from no pod's address: what measures goes
past the link. A fault of the pod takes it away, one of the network does not reach it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from resync.lab.addresses import Block
from resync.lab.manifests import GRACE_S, NAMESPACE, ROLE_LABEL
from resync.lab.metadata import ADDRESS

NAME = "prometheus-0"
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
