"""The gateway process: pods in, subscriptions kept in step with them, one index, one HTTP front.

Every engine has tasks of its own, so a slow, dead or partitioned one delays no other, and neither delays
the pod watch (AIBrix subscribes inside its informer's callback: one closed replay port stops all pod
handling for five seconds). A pod that leaves, fails, loses its label, moves or comes back as another pod
under the same name is ended first, its entries and series with it, and then started anew if it is wanted.

Each data-parallel rank of a pod is an engine of its own here: numbers, entries, series, health and load are
per rank, the HTTP address is the pod's.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web

from resync.cluster.pods import Pod
from resync.cluster.watching import PodWatch
from resync.gateway.metrics import Metrics
from resync.gateway.parts import Parts
from resync.gateway.proxying import Proxy, Route
from resync.gateway.routing import Routing
from resync.gateway.serving import Front, IndexView
from resync.gateway.settings import Settings
from resync.gateway.sources import HTTP_PORT, EnginePod, RoutedEngine, SubscribedEngine
from resync.gateway.tokenizing import Tokenizer
from resync.kits.clocks import Clock
from resync.kvsync import fleet
from resync.kvsync.index import PrefixIndex
from resync.kvsync.localindex import LocalIndex
from resync.kvsync.router import Router
from resync.kvsync.source import Source

log = logging.getLogger(__name__)

STOP_S_MAX = 1.0
PORT_LABEL = "model.aibrix.ai/port"


class Gateway:
    """Everything one gateway process does, until its task is cancelled."""

    def __init__(self, settings: Settings, *, parts: Parts, clock: Clock) -> None:
        self._settings = settings
        self._parts = parts
        self._clock = clock
        self._metrics = Metrics()
        self._configuration = settings.configuration
        self._index = self._new_index()
        self._admission = parts.admission()
        self._engines: dict[str, SubscribedEngine | RoutedEngine] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._fleet = fleet.FleetSettings(kv_sync=settings.configuration.kv_sync)
        self._mistakes: frozenset[str] = frozenset()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Serve and follow the engines until cancelled.

        Raises OSError when the address is taken, KubeconfigError when there is no usable kubeconfig.
        """
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(self._session())
            await self._serve(stack, session)
            # Started before the task group is entered, so that its error is not wrapped in a group; it
            # delivers nothing before this task waits.
            watch = self._started_watch()
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            self._tasks.create_task(self._evict_idle(), name="evict what is idle")
            if watch is None:
                self._follow(_static_pods(self._settings))
            else:
                stack.push_async_callback(asyncio.to_thread, watch.stop)
            await asyncio.Event().wait()

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0, local_addr=(self._settings.identity.bind_ip, 0), keepalive_timeout=60
        )
        timeout = aiohttp.ClientTimeout(
            total=self._settings.request_timeout_s, sock_connect=self._settings.connect_timeout_s
        )
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def _serve(self, stack: AsyncExitStack, session: aiohttp.ClientSession) -> None:
        routing = Routing(
            Router(self._index, self._configuration.router),
            kv_sync=self._configuration.kv_sync,
            families=self._metrics.router,
            clock=self._clock,
        )
        front = Front(
            proxy=Proxy(
                session,
                routing=routing,
                tokenizer=Tokenizer(session) if self._configuration.remote_tokenizer else None,
                ready=self._ready,
                models=self._models,
                running_changed=self._running_changed,
            ),
            page=self._page,
            models=self._models,
            view=self._view if self._settings.index_view else None,
        )
        runner = web.AppRunner(front.application(), access_log=None, shutdown_timeout=STOP_S_MAX)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, self._settings.identity.bind_ip, self._settings.http_port).start()
        log.info("listening on %s:%d", *runner.addresses[0][:2])

    # --- pods

    def _started_watch(self) -> PodWatch | None:
        settings = self._settings
        if settings.static_engines:
            return None
        watch = PodWatch(
            settings.kubeconfig, settings.namespace, settings.engine_selector, on_pods=self._pods_changed
        )
        watch.start()
        return watch

    def _pods_changed(self, pods: tuple[Pod, ...]) -> None:
        self._follow([engine_pod(pod, source) for pod in pods for source in self._sources(_facts(pod))])
        self._warn(filter(None, (fleet.mistake(_facts(pod), self._fleet) for pod in pods)))

    def _sources(self, pod: fleet.PodFacts) -> tuple[Source, ...]:
        """Without KV sync the ranks of a pod are its own affair: nobody is subscribed to."""
        if self._fleet.kv_sync:
            return fleet.wanted(pod, self._fleet)
        engine = fleet.engine(pod, self._fleet)
        return () if engine is None else (engine,)

    def _warn(self, mistakes: Iterable[str]) -> None:
        """Say what is new among them."""
        now = frozenset(mistakes)
        for mistake in sorted(now - self._mistakes):
            log.warning("%s", mistake)
        self._mistakes = now

    def _follow(self, wanted: Iterable[EnginePod]) -> None:
        """Bring the subscriptions in step with the complete list of engines that are wanted."""
        target = {pod.source.pod_key: pod for pod in wanted}
        followed = {pod_key: engine.pod.source for pod_key, engine in self._engines.items()}
        changed = fleet.difference(followed, (pod.source for pod in target.values()))
        for pod_key in changed.unsubscribe:
            self._end(pod_key)
        for source in changed.subscribe:
            self._start(target[source.pod_key])
        for pod_key, engine in self._engines.items():
            engine.pod = target[pod_key]

    def _start(self, pod: EnginePod) -> None:
        if self._tasks is None:
            raise RuntimeError("pods were delivered before the gateway ran: this is a bug, please report")
        pod_key = pod.source.pod_key
        engine = self._engines[pod_key] = self._new_engine(pod)
        self._running[pod_key] = self._tasks.create_task(engine.run(), name=f"engine {pod_key}")
        log.info("following %s at %s", pod_key, pod.source.host)

    def _new_engine(self, pod: EnginePod) -> SubscribedEngine | RoutedEngine:
        if isinstance(self._index, LocalIndex):
            return RoutedEngine(pod, index=self._index, settings=self._settings, clock=self._clock)
        return SubscribedEngine(
            pod,
            index=self._index,
            metrics=self._parts.source_metrics(self._metrics.sources, pod.source.pod_key),
            admission=self._admission,
            subscription=self._parts.subscription,
            clock=self._clock,
            settings=self._settings,
            patience=self._parts.patience or self._settings.patience,
        )

    def _end(self, pod_key: str) -> None:
        self._running.pop(pod_key).cancel()
        self._engines.pop(pod_key).close()
        self._metrics.running.remove(pod_key)
        log.info("%s is not followed any more; its entries are gone", pod_key)

    # --- the index

    def _new_index(self) -> PrefixIndex | LocalIndex:
        configuration = self._configuration
        if configuration.kv_sync:
            return self._parts.index(block_size=self._settings.block_size, limits=configuration.limits)
        return LocalIndex(block_size=self._settings.block_size, blocks_max=configuration.local_blocks_max)

    async def _evict_idle(self) -> None:
        idle_s = self._configuration.idle_s
        while idle_s is not None:
            evicted = self._index.evict_idle(self._clock.monotonic_s(), idle_s)
            if evicted:
                log.warning("%d blocks that nothing used for %g s were dropped", evicted, idle_s)
            await asyncio.sleep(self._configuration.eviction_interval_s)

    # --- what the front asks

    def _ready(self, model: str) -> Mapping[str, Route]:
        return {
            pod_key: engine.route
            for pod_key, engine in self._engines.items()
            if engine.ready and engine.pod.source.model == model
        }

    def _models(self) -> AbstractSet[str]:
        return {engine.pod.source.model for engine in self._engines.values()}

    def _running_changed(self, pod_key: str, requests: int) -> None:
        if pod_key in self._engines:
            self._metrics.running.labels(pod_key).set(requests)

    def _view(self) -> IndexView:
        pods = {pod_key: engine.view() for pod_key, engine in self._engines.items()}
        return IndexView(self._settings.identity.pod_key, self._clock.wall_s(), pods)

    def _page(self) -> bytes:
        for engine in self._engines.values():
            engine.refresh_metrics()
        if isinstance(self._index, PrefixIndex):
            self._metrics.index.show(self._index.statistics())
        fed = any(engine.exact for engine in self._engines.values())
        return self._metrics.page(fed=fed, kv_sync=self._configuration.kv_sync)


def _facts(pod: Pod) -> fleet.PodFacts:
    # Without the number of restarts: the stream knows a new life by its first answer, before its first event,
    # and a sidecar that restarts would cost the blocks that the replay ring no longer has.
    return fleet.PodFacts(
        pod.pod_key, pod.uid, pod.ip, pod.phase, pod.labels, pod.annotations, deleting=pod.deleting
    )


def engine_pod(pod: Pod, source: Source) -> EnginePod:
    """What the gateway needs of a pod that is that source."""
    port = pod.labels.get(PORT_LABEL, "")
    return EnginePod(source, http_port=int(port) if port.isdigit() else HTTP_PORT, ready=pod.ready)


def _static_pods(settings: Settings) -> list[EnginePod]:
    namespace = settings.identity.namespace
    return [
        EnginePod(Source(f"{namespace}/{name}", ip, uid=name, model=settings.static_model), ready=True)
        for name, ip in settings.static_engines
    ]
