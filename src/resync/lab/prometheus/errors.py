"""What can go wrong with the lab's Prometheus. Every message is one sentence a user can act on."""


class PrometheusError(Exception):
    """Base of everything here."""


class PrometheusNotFoundError(PrometheusError):
    """No usable `prometheus` program, and none could be fetched."""


class PrometheusStartError(PrometheusError):
    """The program is there but did not come up."""
