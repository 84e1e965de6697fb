"""What the load counts (docs/interfaces.md, section 4). Audited requests are counted when their answer is in.

`allowed` and `routed` of one request move together, so a request under way is in neither and the ratio has no
edge.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge


class LoadMetrics:
    """The series of one load process, in a registry of their own."""

    def __init__(self, *, asked_rate: float) -> None:
        self.registry = CollectorRegistry()
        self.sent = self._counter("sent", "Requests sent, through the gateway or past it.")
        self.bypassed = self._counter("bypassed", "Of those, sent straight to an engine.")
        self.completed = self._counter("completed", "Requests ended, by HTTP status or failure.", "status")
        self.refused = self._counter("refused", "Requests due but never sent, by reason.", "reason")
        self.audited = self._counter(
            "audited", "Requests whose engines were asked just before what they have held for a moment."
        )
        self.audit_failures = self._counter("audit_failures", "Audits in which an engine did not answer.")
        self.allowed_hits = self._counter(
            "allowed_hits", "Audited, and some engine had held a block of the prompt."
        )
        self.routed_hits = self._counter(
            "routed_hits", "Allowed, and as many tokens were cached as truth allowed."
        )
        self.last_sent = Gauge(
            "resync_load_last_sent_timestamp_seconds", "When a request was last sent.", registry=self.registry
        )
        self.asked_rate = Gauge(
            "resync_load_asked_rate", "Requests a second asked for.", registry=self.registry
        )
        self.asked_rate.set(asked_rate)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"resync_load_{name}", text, labels, registry=self.registry)
