"""A real Prometheus for the lab: finding the program without root, and how its server is called."""

from resync.lab.prometheus.binary import find_binary
from resync.lab.prometheus.errors import PrometheusError, PrometheusNotFoundError, PrometheusStartError
from resync.lab.prometheus.server import Target, prepared

__all__ = [
    "PrometheusError",
    "PrometheusNotFoundError",
    "PrometheusStartError",
    "Target",
    "find_binary",
    "prepared",
]
