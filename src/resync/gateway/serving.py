"""The gateway's HTTP: completions, models, the index view, metrics and health."""

from collections.abc import Callable, Iterable

import msgspec
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from resync.gateway.proxying import BODY_BYTES_MAX, PATHS, Proxy

JSON = "application/json"


class PodView(msgspec.Struct, frozen=True, gc=False):
    """What the index says about one pod; an entry is group, hash, copies, prefix key, provenance."""

    applied_seq: int
    state: str
    exact: bool
    entries: list[tuple[int, int, int, int | None, str]]


class IndexView(msgspec.Struct, frozen=True):
    """The whole index at one moment, by pod key."""

    gateway: str
    at: float
    pods: dict[str, PodView]


class Front:
    """The routes; a `view` of None means that there is no index view."""

    def __init__(
        self,
        *,
        proxy: Proxy,
        page: Callable[[], bytes],
        models: Callable[[], Iterable[str]],
        view: Callable[[], IndexView] | None,
    ) -> None:
        self._proxy = proxy
        self._metrics_page = page
        self._models_of_fleet = models
        self._view = view
        self._encoder = msgspec.json.Encoder()

    def application(self) -> web.Application:
        """The aiohttp application with every route."""
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        add = application.router
        for path in PATHS:
            add.add_post(path, self._proxy.completions)
        add.add_get("/v1/models", self._models)
        add.add_get("/health", self._health)
        add.add_get("/metrics", self._page)
        if self._view is not None:
            add.add_get("/index", self._index)
        return application

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics_page(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _models(self, _request: web.Request) -> web.Response:
        models = [{"id": name, "object": "model"} for name in sorted(set(self._models_of_fleet()))]
        return web.json_response({"object": "list", "data": models})

    async def _index(self, _request: web.Request) -> web.Response:
        """One atomic snapshot: nothing is awaited between its first entry and its last."""
        assert self._view is not None
        return web.Response(body=self._encoder.encode(self._view()), content_type=JSON)
