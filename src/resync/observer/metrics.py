"""The observer's metric families (docs/interfaces.md section 4) and how their series come and go.

A gauge is set only by a cut that was taken; a cut that could not be taken moves nothing but the failure
counter, so a value is as old as `resync_last_cut_timestamp_seconds` says. Series of pods and gateways that
left are removed.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from prometheus_client import CollectorRegistry, Counter, Gauge

from resync.observer.errors import Reason
from resync.observer.records import Truth

Labels = tuple[str, ...]


class GaugeSeries:
    """A gauge by labels; `keep` removes all other children."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, labels: Labels) -> None:
        self._family = Gauge(name, text, labels, registry=registry)
        self._children: dict[Labels, Gauge] = {}

    def set(self, value: float, *labels: str) -> None:
        """Set one child; it appears with the first value."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._family.labels(*labels)
        child.set(value)

    def drop(self, *prefix: str) -> None:
        """Remove every child whose labels begin with `prefix`."""
        for labels in [known for known in self._children if known[: len(prefix)] == prefix]:
            self._family.remove(*labels)
            del self._children[labels]

    def pods_under(self, *prefix: str) -> AbstractSet[str]:
        """The values of the label after `prefix`, among children that exist."""
        return {known[len(prefix)] for known in self._children if known[: len(prefix)] == prefix}


class TotalSeries:
    """A counter that mirrors a total somebody else counts; a new life of theirs is a new series."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str) -> None:
        self._family = Counter(name, text, ("pod_key",), registry=registry)
        self._seen: dict[str, tuple[str, int]] = {}

    def show(self, pod_key: str, incarnation: str, total: int) -> None:
        """Make the counter of `pod_key` say `total`."""
        life, seen = self._seen.get(pod_key, (incarnation, 0))
        if life != incarnation or total < seen:
            self._family.remove(pod_key)
            seen = 0
        self._family.labels(pod_key).inc(total - seen)
        self._seen[pod_key] = (incarnation, total)

    def drop(self, pod_key: str) -> None:
        """Remove the series of a pod that left."""
        if self._seen.pop(pod_key, None) is not None:
            self._family.remove(pod_key)


class Metrics:
    """Every family of the process, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> GaugeSeries:
            return GaugeSeries(self.registry, "resync_" + name, text, labels)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter("resync_" + name, text, labels, registry=self.registry)

        both = ("gateway", "pod_key")
        self.divergence = gauge("divergence_blocks", "Blocks wrong at the last cut.", *both, "kind")
        self.staleness_blocks = gauge("staleness_blocks", "Blocks changed since the applied sequence.", *both)
        self.staleness_s = gauge("staleness_seconds", "Age of the oldest batch not yet applied.", *both)
        self.applied = gauge("applied_sequence", "What the gateway says it has applied.", *both)
        self.index_blocks = gauge("index_blocks", "Blocks in the gateway's index.", *both)
        self.last_cut = gauge("last_cut_timestamp_seconds", "When the last cut was taken.", "gateway")
        self.cut_began = gauge("cut_began_timestamp_seconds", "When that cut was begun.", "gateway")
        self.control = gauge(
            "control_timestamp_seconds", "When the control was last read to its end.", "gateway"
        )
        self.published = gauge("published_sequence", "What the engine has published.", "pod_key")
        self.incarnation = gauge(
            "incarnation", "1: which life of the engine it is.", "pod_key", "incarnation"
        )
        self.truth_blocks = gauge("truth_blocks", "Blocks the engine holds.", "pod_key")
        self.peer_rtt = gauge("peer_rtt_seconds", "The observer's own round trip to the engine.", "pod_key")
        self.shared = Gauge(
            "resync_shared_hashes", "Hashes held by two or more engines.", registry=self.registry
        )
        self.selected = Gauge("resync_gateways_selected", "Gateway pods found.", registry=self.registry)
        self.audited = Gauge("resync_gateways_audited", "Gateways with a last cut.", registry=self.registry)
        self.cuts = counter("cuts", "Cuts compared.", "gateway")
        self.divergent_cuts = counter("divergent_cuts", "Cuts with any divergence.", "gateway")
        self.audited_blocks = counter("audited_blocks", "Blocks compared.", *both)
        self.failures = counter("observer_failures", "Cuts that could not be taken.", "reason")
        self.stored = TotalSeries(self.registry, "resync_blocks_stored", "Blocks ever stored, from the pool.")
        self.removed = TotalSeries(
            self.registry, "resync_blocks_removed", "Blocks ever removed, from the pool."
        )
        self._audited_pods: set[tuple[str, str]] = set()
        for reason in Reason:
            self.failures.labels(reason.value)

    def gateway_appeared(self, gateway: str) -> None:
        """Start the counters of `gateway` at 0."""
        self.cuts.labels(gateway)
        self.divergent_cuts.labels(gateway)

    def show_engine(self, pod_key: str, truth: Truth) -> None:
        """Show what an engine says about itself as of now, whichever sequence it was asked about."""
        self.published.set(truth.published_seq, pod_key)
        self.incarnation.drop(pod_key)
        self.incarnation.set(1, pod_key, truth.incarnation)
        self.stored.show(pod_key, truth.incarnation, truth.stored_total)
        self.removed.show(pod_key, truth.incarnation, truth.removed_total)

    def engine_gone(self, pod_key: str) -> None:
        """Say nothing more of what a process that is gone held and published."""
        self.published.drop(pod_key)
        self.incarnation.drop(pod_key)
        self.truth_blocks.drop(pod_key)

    def compared(self, gateway: str, pod_key: str, blocks: int) -> None:
        """Count blocks of one pod that were compared in one cut."""
        self._audited_pods.add((gateway, pod_key))
        self.audited_blocks.labels(gateway, pod_key).inc(blocks)

    def forget_pods(self, gateway: str, *, but: Iterable[str]) -> None:
        """Remove the series that `gateway` has for pods other than these."""
        kept = set(but)
        for series in self._by_gateway():
            for pod_key in series.pods_under(gateway) - kept:
                series.drop(gateway, pod_key)
        for known in [pair for pair in self._audited_pods if pair[0] == gateway and pair[1] not in kept]:
            self.audited_blocks.remove(*known)
            self._audited_pods.discard(known)

    def forget_gateway(self, gateway: str) -> None:
        """Remove every series of a gateway that left."""
        self.forget_pods(gateway, but=())
        self.last_cut.drop(gateway)
        self.cut_began.drop(gateway)
        self.control.drop(gateway)
        self.cuts.remove(gateway)
        self.divergent_cuts.remove(gateway)

    def forget_engine(self, pod_key: str) -> None:
        """Remove every series that is about an engine alone."""
        gauges = (self.published, self.incarnation, self.truth_blocks, self.peer_rtt)
        for series in (*gauges, self.stored, self.removed):
            series.drop(pod_key)

    def _by_gateway(self) -> tuple[GaugeSeries, ...]:
        return (self.divergence, self.staleness_blocks, self.staleness_s, self.applied, self.index_blocks)
