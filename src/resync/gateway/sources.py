"""One engine: its health check and, where it is subscribed to, its event stream, entries and series.

The subscription decides what is applied and in which order (`resync.kvsync.subscriber`); this applies it.
The number that the index view names is the one applied *here*, not the one that has arrived: an audit
rewinds truth to it.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from resync.gateway.healthchecks import Checked, HealthCheck
from resync.gateway.metrics import SourceMetrics
from resync.gateway.parts import Admission, Subscribe
from resync.gateway.proxying import Route
from resync.gateway.serving import PodView
from resync.gateway.settings import Patience, Settings
from resync.kits.clocks import Clock
from resync.kvsync import handlers
from resync.kvsync.index import PrefixIndex
from resync.kvsync.localindex import LocalIndex
from resync.kvsync.records import Batch
from resync.kvsync.source import Source
from resync.kvsync.subscriber import Statistics
from resync.transport.subscription import TransportSettings

log = logging.getLogger(__name__)

NOTHING_APPLIED = -1
HTTP_PORT = 8000


@dataclass(frozen=True, slots=True)
class EnginePod:
    """An engine to subscribe to: where its events are, where its HTTP is, whether its pod is Ready."""

    source: Source
    http_port: int = HTTP_PORT
    ready: bool = False

    @property
    def base_url(self) -> str:
        """Where its HTTP is."""
        return f"http://{self.source.host}:{self.http_port}"

    @property
    def route(self) -> Route:
        """Where its requests go."""
        source = self.source
        return Route(source.pod_key, source.pod_name, source.host, self.base_url, source.rank)


class SubscribedEngine:
    """One engine's tasks and everything that is known of it; `close` takes all of that away again."""

    def __init__(
        self,
        pod: EnginePod,
        *,
        index: PrefixIndex,
        metrics: SourceMetrics,
        admission: Admission,
        subscription: Subscribe,
        clock: Clock,
        settings: Settings,
        patience: Patience,
    ) -> None:
        self.pod = pod
        self._pod_key = pod.source.pod_key
        self._index = index
        self._metrics = metrics
        self._admission = admission
        self._clock = clock
        self._applied_seq = NOTHING_APPLIED
        self._closed = False
        self._health = _health_check(pod, settings, clock, self._checked)
        index.introduce(self._pod_key, pod.source.model)
        self._subscription = subscription(pod.source, self, _transport(settings, patience))

    async def run(self) -> None:
        """Follow the engine until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._subscription.run(), name=f"events {self._pod_key}")
            tasks.create_task(self._health.run(), name=f"health {self._pod_key}")

    def close(self) -> None:
        """Forget the engine's entries and series; nothing that arrives later is applied."""
        self._closed = True
        self._index.purge(self._pod_key)
        self._metrics.remove()

    # --- what the gateway asks

    @property
    def ready(self) -> bool:
        """Whether requests may go there: its pod is Ready and it answers."""
        return self.pod.ready and self._health.reachable

    @property
    def route(self) -> Route:
        """Where its requests go."""
        return self.pod.route

    @property
    def exact(self) -> bool:
        """Whether the index is known to be right for it, up to the applied number."""
        return self._subscription.statistics().exact and not self._index.lacks(self._pod_key)

    def view(self) -> PodView:
        """Its part of the index view."""
        statistics = self._subscription.statistics()
        return PodView(
            self._applied_seq, statistics.state.value, self.exact, _rows(self._index, self._pod_key)
        )

    def refresh_metrics(self) -> None:
        """Bring the series that mirror the subscription's own counts up to date."""
        self._metrics.mirror(
            self._subscription.statistics(), self._subscription.connections(), exact=self.exact
        )

    # --- what the subscription tells

    def apply(self, seq: int, batch: Batch, live: bool) -> None:  # noqa: FBT001 - the protocol's signature
        """Apply one batch."""
        if self._closed:
            return
        self._metrics.count_received(batch)
        if not self._admission.may_apply():
            return
        began_s = self._clock.monotonic_s()
        counts = handlers.apply_batch(self._index, self._pod_key, batch, lora_id=self.pod.source.lora_id)
        now_s = self._clock.wall_s()
        self._applied_seq = seq
        self._metrics.count_processed(counts, self._clock.monotonic_s() - began_s)
        self._metrics.applied(seq, now_s)
        if live:
            self._metrics.measured_age(now_s - batch.ts)

    def _checked(self, checked: Checked) -> None:
        if self._closed or checked.round_trip_s is None:
            return
        self._metrics.measured_round_trip(checked.round_trip_s, checked.at_wall_s)
        self._admission.round_trip(self._pod_key, checked.round_trip_s)

    def purge(self, reason: str) -> None:
        """Forget the entries; the subscription says from which number the index goes on."""
        if self._closed or not self._admission.may_apply():
            return
        self._index.clear(self._pod_key)
        self._applied_seq = self._subscription.statistics().applied_seq
        if self._applied_seq == NOTHING_APPLIED:
            self._metrics.begin()
        log.warning("%s: entries dropped: %s", self._pod_key, reason)

    def degrade(self, reason: str) -> None:
        """Say that blocks may be lacking."""
        log.warning("%s: not exact: %s", self._pod_key, reason)

    def state_changed(self, statistics: Statistics) -> None:
        """Say where the stream stands."""
        log.info("%s: %s%s", self._pod_key, statistics.state, "" if statistics.exact else ", not exact")


class RoutedEngine:
    """An engine that nobody subscribes to: what is known of its blocks is where requests were sent."""

    def __init__(self, pod: EnginePod, *, index: LocalIndex, settings: Settings, clock: Clock) -> None:
        self.pod = pod
        self.exact = False
        self._index = index
        self._health = _health_check(pod, settings, clock, lambda _checked: None)

    async def run(self) -> None:
        """Check its health until cancelled."""
        await self._health.run()

    def close(self) -> None:
        """Forget what was believed of it."""
        self._index.purge(self.pod.source.pod_key)

    @property
    def ready(self) -> bool:
        """Whether requests may go there: its pod is Ready and it answers."""
        return self.pod.ready and self._health.reachable

    @property
    def route(self) -> Route:
        """Where its requests go."""
        return self.pod.route

    def view(self) -> PodView:
        """Its part of the index view: guesses, and no stream that they could be compared at."""
        return PodView(NOTHING_APPLIED, "routed", self.exact, _rows(self._index, self.pod.source.pod_key))

    def refresh_metrics(self) -> None:
        """Nothing: the series of a pod are about its subscription."""


def _rows(index: PrefixIndex | LocalIndex, pod_key: str) -> list[tuple[int, int, int, int | None, str]]:
    return [
        (entry.group, entry.hash, entry.copies, entry.prefix_key, entry.provenance)
        for entry in index.entries(pod_key)
    ]


def _health_check(
    pod: EnginePod, settings: Settings, clock: Clock, report: Callable[[Checked], None]
) -> HealthCheck:
    return HealthCheck(
        f"{pod.base_url}/health",
        bind_ip=settings.identity.bind_ip,
        timing=settings.health,
        dice=random.Random(f"{settings.identity.pod_key} {pod.source.pod_key}"),
        clock=clock,
        report=report,
    )


def _transport(settings: Settings, patience: Patience) -> TransportSettings:
    return TransportSettings(
        heartbeat_interval_ms=_ms(patience.heartbeat_interval_s),
        heartbeat_timeout_ms=_ms(patience.heartbeat_timeout_s),
        connect_timeout_ms=_ms(patience.connect_timeout_s),
        replay_timeout_ms=_ms(patience.replay_timeout_s),
        local_address=settings.identity.bind_ip,
    )


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
