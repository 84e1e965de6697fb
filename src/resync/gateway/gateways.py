"""The gateway process: pods in, subscriptions kept in step with them, one index, one HTTP front.

Every engine has tasks of its own, so a slow, dead or partitioned one delays no other, and neither delays
the pod watch (AIBrix subscribes inside its informer's callback: one closed replay port stops all pod
handling for five seconds). A pod that leaves, fails, loses its label, moves or comes back as another pod
under the same name is ended first, its entries and series with it, and then started anew if it is wanted.
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
from resync.gateway.sources import HTTP_PORT, EnginePod, SubscribedEngine
from resync.kits.clocks import Clock
from resync.kvsync import fleet

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
        self._index = parts.index(block_size=settings.block_size)
        self._admission = parts.admission()
        self._engines: dict[str, SubscribedEngine] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
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
        routing = Routing(self._index, families=self._metrics.router, clock=self._clock)
        front = Front(
            proxy=Proxy(
                session,
                routing=routing,
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
        self._follow([*filter(None, map(engine_pod, pods))])

    def _follow(self, wanted: Iterable[EnginePod]) -> None:
        """Bring the subscriptions in step with the complete list of engines that are wanted."""
        target = {pod.source.pod_key: pod for pod in wanted}
        for pod_key, engine in list(self._engines.items()):
            if pod_key not in target or engine.pod.source != target[pod_key].source:
                self._end(pod_key)
        for pod_key, pod in target.items():
            if pod_key in self._engines:
                self._engines[pod_key].pod = pod
            else:
                self._start(pod)

    def _start(self, pod: EnginePod) -> None:
        if self._tasks is None:
            raise RuntimeError("pods were delivered before the gateway ran: this is a bug, please report")
        pod_key = pod.source.pod_key
        engine = SubscribedEngine(
            pod,
            index=self._index,
            metrics=self._parts.source_metrics(self._metrics.sources, pod_key),
            admission=self._admission,
            clock=self._clock,
            settings=self._settings,
            patience=self._parts.patience or self._settings.patience,
        )
        self._engines[pod_key] = engine
        self._running[pod_key] = self._tasks.create_task(engine.run(), name=f"engine {pod_key}")
        log.info("subscribed to %s at %s", pod_key, pod.source.host)

    def _end(self, pod_key: str) -> None:
        self._running.pop(pod_key).cancel()
        self._engines.pop(pod_key).close()
        self._metrics.running.remove(pod_key)
        log.info("unsubscribed from %s; its entries are gone", pod_key)

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
        fed = any(engine.exact for engine in self._engines.values())
        return self._metrics.page(synced=fed)


def engine_pod(pod: Pod) -> EnginePod | None:
    """What the gateway needs of a pod that has to be subscribed to, or None."""
    source = fleet.wanted(
        fleet.PodFacts(
            pod.pod_key, pod.uid, pod.ip, pod.phase, pod.labels, pod.annotations, deleting=pod.deleting
        )
    )
    if source is None:
        return None
    port = pod.labels.get(PORT_LABEL, "")
    return EnginePod(source, http_port=int(port) if port.isdigit() else HTTP_PORT, ready=pod.ready)


def _static_pods(settings: Settings) -> list[EnginePod]:
    namespace = settings.identity.namespace
    return [
        EnginePod(fleet.Source(f"{namespace}/{name}", ip, uid=name, model=settings.static_model), ready=True)
        for name, ip in settings.static_engines
    ]
