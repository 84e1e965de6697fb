"""The observer process: one audit per gateway, one round trip per engine, one survey, one HTTP server.

Pods come and go; each gateway and engine has one task, started when its pod appears (or moves) and
cancelled when it leaves, at which moment its series are removed.
"""

import asyncio
import logging
import random
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from resync.cluster.pods import Pod
from resync.cluster.watching import PodWatch
from resync.kits.clocks import Clock
from resync.kits.roundtrips import RoundTrips, Trip, uneven_gaps_s
from resync.observer import fleets
from resync.observer.asking import Asker
from resync.observer.audits import Audit, Timing
from resync.observer.fleets import Peer
from resync.observer.metrics import Metrics
from resync.observer.settings import Settings
from resync.observer.surveys import Survey

log = logging.getLogger(__name__)

STOP_S_MAX = 1.0


class Observer:
    """Everything one observer process does, until its task is cancelled."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = Metrics()
        self._audits: dict[Peer, tuple[Audit, asyncio.Task[None]]] = {}
        self._trips: dict[Peer, asyncio.Task[None]] = {}
        self._engines: dict[str, Peer] = {}
        self._unready: frozenset[str] = frozenset()
        self._asker: Asker | None = None
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Serve and audit until cancelled.

        Raises OSError when the address is taken, KubeconfigError when there is no usable kubeconfig.
        """
        async with AsyncExitStack() as stack:
            self._asker = Asker(await stack.enter_async_context(self._session()))
            await self._serve(stack)
            # Started before the task group is entered, so that an error is not wrapped in a group; they
            # deliver nothing before this task waits.
            watches = self._started_watches()
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for watch in watches:
                stack.push_async_callback(asyncio.to_thread, watch.stop)
            if self._settings.static:
                self._take_places()
            self._tasks.create_task(self._survey(self._asker).run(), name="survey")
            await asyncio.Event().wait()

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            local_addr=(self._settings.identity.bind_ip, 0), keepalive_timeout=60
        )
        timeout = aiohttp.ClientTimeout(total=self._settings.ask_timeout_s)
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    def _survey(self, asker: Asker) -> Survey:
        return Survey(
            asker=asker,
            engines=lambda: self._engines,
            metrics=self._metrics,
            clock=self._clock,
            every_s=self._settings.survey_every_s,
        )

    async def _serve(self, stack: AsyncExitStack) -> None:
        application = web.Application()
        application.router.add_get("/health", self._health)
        application.router.add_get("/metrics", self._page)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_S_MAX)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, self._settings.identity.bind_ip, self._settings.http_port)
        await site.start()
        log.info("listening on %s:%d", *runner.addresses[0][:2])

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _page(self, _request: web.Request) -> web.Response:
        self._metrics.selected.set(len(self._audits))
        self._metrics.audited.set(sum(audit.audited for audit, _task in self._audits.values()))
        page = generate_latest(self._metrics.registry)
        for audit, _task in self._audits.values():
            audit.control.scraped()
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    def _started_watches(self) -> list[PodWatch]:
        settings = self._settings
        if settings.static:
            return []
        found = (
            (settings.engine_selector, self._engine_pods),
            (settings.gateway_selector, self._gateway_pods),
        )
        watches = [
            PodWatch(settings.kubeconfig, settings.namespace, selector, on_pods=take)
            for selector, take in found
        ]
        for watch in watches:
            watch.start()
        return watches

    def _take_places(self) -> None:
        settings, namespace = self._settings, self._settings.identity.namespace
        self._take_engines(fleets.peers_of(settings.static_engines, namespace=namespace))
        self._take_gateways(fleets.peers_of(settings.static_gateways, namespace=namespace))

    def _engine_pods(self, pods: tuple[Pod, ...]) -> None:
        self._unready = fleets.unready_of(pods)
        self._take_engines(fleets.engines_of(pods))

    def _gateway_pods(self, pods: tuple[Pod, ...]) -> None:
        self._take_gateways(fleets.gateways_of(pods, port=self._settings.gateway_port))

    def _take_engines(self, engines: Iterable[Peer]) -> None:
        wanted = set(engines)
        for gone in self._trips.keys() - wanted:
            self._trips.pop(gone).cancel()
            if gone.pod_key not in {peer.pod_key for peer in wanted}:
                self._metrics.forget_engine(gone.pod_key)
        for new in sorted(wanted - self._trips.keys(), key=lambda peer: peer.pod_key):
            self._trips[new] = self._start(self._round_trips(new).run(), f"round trips {new.pod_key}")
        self._engines = {peer.pod_key: peer for peer in sorted(wanted, key=lambda peer: peer.pod_key)}
        log.info("engines: %s", ", ".join(self._engines) or "none")

    def _take_gateways(self, gateways: Iterable[Peer]) -> None:
        wanted = set(gateways)
        for gone in self._audits.keys() - wanted:
            self._audits.pop(gone)[1].cancel()
            self._metrics.forget_gateway(gone.pod_key)
        for new in sorted(wanted - self._audits.keys(), key=lambda peer: peer.pod_key):
            audit = self._audit(new)
            self._audits[new] = (audit, self._start(audit.run(), f"audit {new.pod_key}"))
        log.info("gateways: %s", ", ".join(sorted(peer.pod_key for peer in self._audits)) or "none")

    def _start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        if self._tasks is None:
            raise RuntimeError("pods were delivered before the observer ran: this is a bug, please report")
        return self._tasks.create_task(work, name=name)

    def _round_trips(self, engine: Peer) -> RoundTrips:
        """The untouched peer's: the observer stands outside the fault between gateway and engines."""

        def measured(trip: Trip | None) -> None:
            if trip is not None and trip.pure_s is not None:
                self._metrics.peer_rtt.set(trip.pure_s, engine.pod_key)

        return RoundTrips(
            f"{engine.base_url}/health",
            bind_ip=self._settings.identity.bind_ip,
            gaps_s=uneven_gaps_s(self._settings.round_trip_every_s, dice=random.Random(engine.pod_key)),
            timeout_s=self._settings.ask_timeout_s,
            clock=self._clock,
            report=measured,
        )

    def _audit(self, gateway: Peer) -> Audit:
        if self._asker is None:
            raise RuntimeError("pods were delivered before the observer ran: this is a bug, please report")
        return Audit(
            gateway,
            asker=self._asker,
            engines=lambda: self._engines,
            unready=lambda: self._unready,
            metrics=self._metrics,
            clock=self._clock,
            timing=Timing(
                cut_every_s=self._settings.cut_every_s,
                control_phase_timeout_s=self._settings.control_phase_timeout_s,
                allowances=self._settings.allowances,
            ),
        )
