"""The gateway's metric families: AIBrix's names, and those that only we export.

AIBrix declares most of its ZMQ families and then never moves them: a counter that stays 0 looks like
health. Here each family has exactly one place that moves it, and a pod's series are created when it is
subscribed and removed when it leaves, so that "absent" means "not subscribed" and "0" means "did not
happen". A gauge of something measured has no series before the first measurement.

Names and labels: AIBrix `pkg/cache/kvcache/metrics.go` and `pkg/plugins/gateway/algorithms/prefix_cache.go`.
"""

from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from resync.kvsync.configuration import IndexerKind
from resync.kvsync.handlers import AppliedCounts
from resync.kvsync.index import IndexStatistics
from resync.kvsync.records import Batch
from resync.kvsync.subscriber import Statistics
from resync.transport.subscription import ConnectionStatistics

Family = TypeVar("Family", Counter, Gauge, Histogram)
Labels = tuple[str, ...]

AGE_BUCKETS_S = (*(step / 100 for step in range(1, 41)), 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Every 10 ms to 0.4 s, so that a delay of some tens of milliseconds moves the quantiles; then coarse."""
MICRO_BUCKETS_S = tuple(10e-6 * 2**power for power in range(15))
"""Ten microseconds and fourteen doublings: the buckets of AIBrix's own duration histograms."""

EVENT_TYPES = ("BlockStored", "BlockRemoved", "AllBlocksCleared")
DISPOSITIONS = ("applied", "superseded", "irrecoverable")
ERROR_TYPES = ("decode", "consume_events", "handle_event")


class SourceFamilies:
    """Everything that is about one subscribed pod (label `pod_key`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ("pod_key", *labels), registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, ("pod_key", *labels), registry=registry)

        zmq = "aibrix_kvcache_zmq_"
        own = "resync_gateway_"
        self.connections = counter(zmq + "connections", "Event connections that came up.")
        self.disconnections = counter(zmq + "disconnections", "Event connections that went down.")
        self.reconnect_attempts = counter(zmq + "reconnect_attempts", "Attempts to connect again.")
        self.received = counter(zmq + "events_received", "KV events received.", "event_type")
        self.processed = counter(zmq + "events_processed", "KV events applied to the index.", "event_type")
        self.missed = counter(zmq + "missed_events", "Batches seen to be missing in a gap.")
        self.replay_requests = counter(zmq + "replay_requests", "Replays asked for.")
        self.replay_successes = counter(zmq + "replay_success", "Replays that were complete.")
        self.replay_failures = counter(zmq + "replay_failures", "Replays that were not.")
        self.errors = counter(zmq + "errors", "Messages that could not be used.", "error_type")
        self.connection_status = gauge(zmq + "connection_status", "1 while the event connection is up.")
        self.last_sequence = gauge(zmq + "last_sequence_id", "Last applied sequence, -1 before the first.")
        self.processing = Histogram(
            zmq + "event_processing_duration_seconds",
            "Time to apply one batch.",
            ("pod_key",),
            registry=registry,
            buckets=MICRO_BUCKETS_S,
        )
        self.age = Histogram(
            own + "event_age_seconds",
            "Wall time at apply minus the batch's own time stamp; live batches only.",
            ("pod_key",),
            registry=registry,
            buckets=AGE_BUCKETS_S,
        )
        self.last_age = gauge(own + "last_event_age_seconds", "Age of the last batch applied live.")
        self.applied_sequence = gauge(own + "applied_sequence", "Last applied sequence, -1 before the first.")
        self.applied_at = gauge(own + "applied_timestamp_seconds", "Wall time at which it was applied.")
        self.gaps = counter(own + "gaps", "Gaps seen.")
        self.gaps_repaired = counter(own + "gaps_repaired", "Gaps closed by a replay, or by a purge.")
        self.unknown_fields = counter(
            own + "unknown_fields", "Fields of events that nobody knows, read past."
        )
        self.replay_ends = counter(own + "replay_ends", "End markers of replays, each checked.")
        self.ledger = gauge(
            own + "ledger_batches", "Batches of this life by what became of them.", "disposition"
        )
        self.exact = gauge(own + "source_exact", "1 while the index for this pod is known to be exact.")
        self.round_trip = gauge(own + "engine_rtt_seconds", "Round trip of the last answered health check.")
        self.round_trip_at = gauge(own + "engine_rtt_timestamp_seconds", "When that was measured.")


class SourceMetrics:
    """The series of one subscribed pod, held as live children: moving one costs no look-up by label."""

    def __init__(self, families: SourceFamilies, pod_key: str) -> None:
        self._families = families
        self._pod_key = pod_key
        self._mirrored: dict[Counter, int] = {}
        self._children: set[tuple[Counter | Gauge | Histogram, Labels]] = set()
        child = self._child
        self.connections = child(families.connections)
        self.disconnections = child(families.disconnections)
        self.reconnect_attempts = child(families.reconnect_attempts)
        self.received = {kind: child(families.received, kind) for kind in EVENT_TYPES}
        self.processed = {kind: child(families.processed, kind) for kind in EVENT_TYPES}
        self.missed = child(families.missed)
        self.replay_requests = child(families.replay_requests)
        self.replay_successes = child(families.replay_successes)
        self.replay_failures = child(families.replay_failures)
        self.errors = {kind: child(families.errors, kind) for kind in ERROR_TYPES}
        self.connection_status = child(families.connection_status)
        self.last_sequence = child(families.last_sequence)
        self.processing = child(families.processing)
        self.age = child(families.age)
        self.applied_sequence = child(families.applied_sequence)
        self.gaps = child(families.gaps)
        self.gaps_repaired = child(families.gaps_repaired)
        self.unknown_fields = child(families.unknown_fields)
        self.replay_ends = child(families.replay_ends)
        self.ledger = {kind: child(families.ledger, kind) for kind in DISPOSITIONS}
        self.exact = child(families.exact)
        self.begin()

    def _child(self, family: Family, *labels: str) -> Family:
        values: Labels = (self._pod_key, *labels)
        self._children.add((family, values))
        return family.labels(*values)

    def count_received(self, batch: Batch) -> None:
        """Count the events of one batch as they arrive, whatever happens to them afterwards."""
        for event in batch.events:
            self.received[type(event).__name__].inc()

    def count_processed(self, counts: AppliedCounts, took_s: float) -> None:
        """Count the events that were applied, and how long their batch took."""
        for kind, applied in counts.by_type().items():
            if applied:
                self.processed[kind].inc(applied)
        self.unknown_fields.inc(counts.unknown_fields)
        self.processing.observe(took_s)

    def mirror(self, stream: Statistics, connection: ConnectionStatistics, *, exact: bool) -> None:
        """Bring the series that follow the subscription's own counts up to date."""
        self.connection_status.set(connection.connected)
        self.exact.set(exact)
        books = (stream.applied_batches, stream.superseded_batches, stream.irrecoverable_batches)
        for kind, batches in zip(DISPOSITIONS, books, strict=True):
            self.ledger[kind].set(batches)
        for counter, now in self._followed(stream, connection):
            counter.inc(now - self._mirrored.get(counter, 0))
            self._mirrored[counter] = now

    def _followed(
        self, stream: Statistics, connection: ConnectionStatistics
    ) -> tuple[tuple[Counter, int], ...]:
        return (
            (self.connections, connection.connects),
            (self.disconnections, connection.disconnects),
            (self.reconnect_attempts, connection.reconnect_attempts),
            (self.missed, stream.missed),
            (self.gaps, stream.gaps),
            (self.gaps_repaired, stream.gaps_repaired),
            (self.replay_requests, stream.replays_asked),
            (self.replay_successes, stream.replays_succeeded),
            (self.replay_failures, stream.replays_failed),
            (self.replay_ends, stream.replay_ends),
            (self.errors["decode"], stream.decode_errors),
            (self.errors["consume_events"], connection.frame_errors),
            (self.errors["handle_event"], stream.malformed_events + stream.unknown_events),
        )

    def measured_age(self, age_s: float) -> None:
        """Record the age of one batch that was applied live."""
        self.age.observe(age_s)
        self._child(self._families.last_age).set(age_s)

    def begin(self) -> None:
        """Record that nothing is applied: before the first batch, and when the source starts over."""
        self.last_sequence.set(-1)
        self.applied_sequence.set(-1)

    def applied(self, sequence: int, at_wall_s: float) -> None:
        """Record which sequence was applied last, and when."""
        self.last_sequence.set(sequence)
        self.applied_sequence.set(sequence)
        self._child(self._families.applied_at).set(at_wall_s)

    def measured_round_trip(self, round_trip_s: float, at_wall_s: float) -> None:
        """Record one answered health check, and when that was."""
        self._child(self._families.round_trip).set(round_trip_s)
        self._child(self._families.round_trip_at).set(at_wall_s)

    def remove(self) -> None:
        """Take every series of this pod off the page."""
        for family, values in self._children:
            family.remove(*values)
        self._children.clear()


class RouterFamilies:
    """What the router decided and how long it took (labels `model`, `using_kv_sync`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(
                "aibrix_prefix_cache_" + name, text, ("model", *labels, "using_kv_sync"), registry=registry
            )

        self.decisions = counter("routing_decisions", "Requests by share matched.", "match_percent_bucket")
        self.selections = counter("routing_selection", "Requests by why the pod was chosen.", "selection")
        self.errors = counter("routing_errors", "Requests not routed, or not by prefix.", "reason")
        self.imbalance = counter("load_imbalance", "Requests while the busiest engine could not compete.")
        self.latency = Histogram(
            "aibrix_prefix_cache_routing_latency_seconds",
            "Time to choose a pod.",
            ("model", "using_kv_sync"),
            registry=registry,
            buckets=MICRO_BUCKETS_S,
        )
        self.indexer_status = Gauge(
            "aibrix_prefix_cache_indexer_status",
            "sync: 1 while fed by at least one exact source; local: 1 while it is the one that is asked.",
            ("model", "indexer_type"),
            registry=registry,
        )


class IndexFamilies:
    """How large the synced index is, and what its limits have left out (no label)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.blocks = Gauge("resync_gateway_index_blocks", "Entries, of all pods.", registry=registry)
        self.contexts = Gauge("resync_gateway_index_contexts", "Models and adapters.", registry=registry)
        self.orphans = Gauge(
            "resync_gateway_index_orphans", "Blocks behind an unknown parent.", registry=registry
        )
        self.refused = Counter(
            "resync_gateway_index_refused_blocks", "Blocks left out by a limit.", registry=registry
        )
        self.evicted = Counter(
            "resync_gateway_index_evicted_blocks", "Blocks of contexts that were idle.", registry=registry
        )
        self._shown = (0, 0)

    def show(self, now: IndexStatistics) -> None:
        """Bring all of it up to date."""
        self.blocks.set(now.blocks)
        self.contexts.set(now.contexts)
        self.orphans.set(now.orphans)
        refused, evicted = self._shown
        self.refused.inc(now.refused_blocks - refused)
        self.evicted.inc(now.evicted_blocks - evicted)
        self._shown = now.refused_blocks, now.evicted_blocks


class Metrics:
    """Every family of the process, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.sources = SourceFamilies(self.registry)
        self.router = RouterFamilies(self.registry)
        self.index = IndexFamilies(self.registry)
        self.running = Gauge(
            "resync_gateway_requests_running", "Requests in flight.", ("pod_key",), registry=self.registry
        )

    def page(self, *, fed: bool, kv_sync: bool) -> bytes:
        """The page of all families; `fed` says whether the synced index is fed by an exact source now."""
        self.router.indexer_status.labels("_init_", IndexerKind.SYNC.value).set(kv_sync and fed)
        self.router.indexer_status.labels("_init_", IndexerKind.LOCAL.value).set(not kv_sync)
        return generate_latest(self.registry)
