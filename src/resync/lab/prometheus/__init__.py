"""A real Prometheus for the lab: finding the program without root, and running one server."""

from resync.lab.prometheus.binary import find_binary
from resync.lab.prometheus.errors import PrometheusError, PrometheusNotFoundError, PrometheusStartError
from resync.lab.prometheus.server import PrometheusServer, Target, launch, start, wait_ready

__all__ = [
    "PrometheusError",
    "PrometheusNotFoundError",
    "PrometheusServer",
    "PrometheusStartError",
    "Target",
    "find_binary",
    "launch",
    "start",
    "wait_ready",
]
