"""HTTP around the verbs: find the target, read the body, call the verb, write the answer."""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import ClassVar

import aiohttp
from aiohttp import web

from resync.lab.api import binding, discovery, errors, nodelogs, proxying, requests, scaling
from resync.lab.api.answers import Renderer, object_answer
from resync.lab.api.errors import ApiError
from resync.lab.api.objects import JsonObject, uid_of
from resync.lab.api.store import Item
from resync.lab.api.streaming import Stream
from resync.lab.api.targets import Target, parse_path
from resync.lab.api.verbs import Verbs, Written
from resync.lab.api.watching import Closing

BODY_BYTES_MAX = 3 * 1024 * 1024
_NOT_WRITTEN = frozenset([*binding.POSTED, nodelogs.LOG])
_OUTWARD = web.AppKey("outward", aiohttp.ClientSession)
_HEALTH = frozenset({"/healthz", "/readyz", "/livez", "/health"})


@dataclass(slots=True)
class ApiServer:
    """The aiohttp application over one `Verbs`. An empty token lets everybody in."""

    verbs: Verbs
    token: str = ""
    closing: Closing = field(default_factory=Closing)

    def application(self) -> web.Application:
        """The application, to be run by an aiohttp runner."""
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.router.add_route("*", "/{path:.*}", self.handle)
        application.cleanup_ctx.append(_with_session)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        try:
            return await self._dispatch(request, self._authorized_path(request))
        except ApiError as refusal:
            return object_answer(refusal.status(), refusal.code)
        except web.HTTPRequestEntityTooLarge:
            return object_answer(errors.too_large().status(), errors.too_large().code)

    def _authorized_path(self, request: web.Request) -> str:
        """The path asked for, without the token in front. Raises ApiError 401.

        kubectl sends no bearer token over plain HTTP (client-go reads credentials only for TLS servers), so
        the kubeconfig's server URL carries the token as its first path segment; other clients send the
        header.
        """
        if not self.token or _same(request.headers.get("Authorization", ""), f"Bearer {self.token}"):
            return request.path.removeprefix(f"/{self.token}") if self.token else request.path
        first, _, rest = request.path.lstrip("/").partition("/")
        if not _same(first, self.token):
            raise errors.unauthorized()
        return "/" + rest

    async def _dispatch(self, request: web.Request, path: str) -> web.StreamResponse:
        if path in _HEALTH:
            return web.Response(text="ok")
        way = proxying.way_of(path)
        if way is not None:
            return await proxying.carry(request, request.app[_OUTWARD], self.verbs, way)
        target = parse_path(path, self.verbs.catalogue)
        if target is None:
            return self._about(request, path)
        if request.method == "GET":
            return await self._read(request, target)
        write = self._WRITES.get(request.method)
        if write is None:
            raise errors.method_not_allowed()
        return write(self, request, target, await request.read())

    def _about(self, request: web.Request, path: str) -> web.Response:
        found = discovery.answer(path, self.verbs.catalogue)
        if found is None:
            raise errors.no_such_path()
        if request.method != "GET":
            raise errors.method_not_allowed()
        return object_answer(found)

    def _renderer(self, request: web.Request, target: Target) -> Renderer:
        return Renderer.asked(request, target.resource, self.verbs.clock)

    # Reading

    async def _read(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.subresource in self._READS:
            return await self._READS[target.subresource](self, request, target)
        renderer = self._renderer(request, target)
        if target.name:
            return renderer.one(self.verbs.get(target))
        matches = requests.matches(request.query, target)
        if requests.is_watch(request.query):
            options = requests.watch_options(request.query)
            stream = Stream(request, self.verbs.store, renderer, matches, options, self.closing)
            return await stream.answer()
        requests.check_list_version(request.query, self.verbs.store.version)
        return renderer.many(self.verbs.select(target.resource, matches), self.verbs.store.version)

    async def _scale(self, _: web.Request, target: Target) -> web.StreamResponse:
        return object_answer(scaling.scale_of(self.verbs.get(target)))

    async def _log(self, request: web.Request, target: Target) -> web.StreamResponse:
        address = nodelogs.address_of(self.verbs, target, request.query)
        return await nodelogs.relay(request, request.app[_OUTWARD], address)

    _READS: ClassVar[
        dict[str, Callable[["ApiServer", web.Request, Target], Awaitable[web.StreamResponse]]]
    ] = {scaling.SCALE: _scale, nodelogs.LOG: _log}

    # Writing

    def _create(self, request: web.Request, target: Target, body: bytes) -> web.Response:
        options = requests.write_options(request.query, request.headers)
        sent = requests.decoded(request.headers, body)
        if target.name:
            action = binding.POSTED.get(target.subresource)
            if action is None:
                raise errors.method_not_allowed()
            return object_answer(action(self.verbs, target, sent, options), 201)
        if target.resource.namespaced and not target.namespace:
            raise errors.method_not_allowed()
        return self._written(request, target, self.verbs.create(target, sent, options))

    def _update(self, request: web.Request, target: Target, body: bytes) -> web.Response:
        if not target.name or target.subresource in _NOT_WRITTEN:
            raise errors.method_not_allowed()
        options = requests.write_options(request.query, request.headers)
        sent = requests.decoded(request.headers, body)
        if target.subresource == scaling.SCALE:
            return object_answer(scaling.write(self.verbs, target, lambda _: sent, options))
        return self._written(request, target, self.verbs.update(target, sent, options))

    def _patch(self, request: web.Request, target: Target, body: bytes) -> web.Response:
        if not target.name or target.subresource in _NOT_WRITTEN:
            raise errors.method_not_allowed()
        options = requests.write_options(request.query, request.headers)
        patcher = requests.patcher(request.headers, body, target)
        if target.subresource == scaling.SCALE:
            return object_answer(scaling.write(self.verbs, target, patcher, options))
        if requests.is_apply(request.headers):
            return self._written(request, target, self.verbs.apply(target, patcher, options))
        return self._written(request, target, self.verbs.patch(target, patcher, options))

    def _written(self, request: web.Request, target: Target, written: Written) -> web.Response:
        response = self._renderer(request, target).one(written.item, 201 if written.created else 200)
        for text in written.warnings:
            response.headers.add("Warning", f'299 - "{text.replace(chr(34), chr(92) + chr(34))}"')
        return response

    def _delete(self, request: web.Request, target: Target, body: bytes) -> web.Response:
        if target.subresource:
            raise errors.method_not_allowed()
        options = requests.delete_options(request.query, body)
        renderer = self._renderer(request, target)
        if not target.name:
            matches = requests.matches(request.query, target)
            deleted = self.verbs.delete_collection(target, matches, options)
            return renderer.many(deleted, self.verbs.store.version)
        item, gone = self.verbs.delete(target, options)
        if gone and target.resource.stored_as != ("", "pods"):
            return object_answer(_deleted(target, item))
        return renderer.one(item)

    _WRITES: ClassVar[dict[str, Callable[["ApiServer", web.Request, Target, bytes], web.Response]]] = {
        "POST": _create,
        "PUT": _update,
        "PATCH": _patch,
        "DELETE": _delete,
    }


async def _with_session(application: web.Application) -> AsyncIterator[None]:
    """The connections to nodes live as long as the server."""
    async with aiohttp.ClientSession() as session:
        application[_OUTWARD] = session
        yield


def _same(sent: str, expected: str) -> bool:
    return hmac.compare_digest(sent.encode(), expected.encode())


def _deleted(target: Target, item: Item) -> JsonObject:
    details = {"name": target.name, "kind": target.resource.plural, "uid": uid_of(item.body)}
    if target.resource.group:
        details["group"] = target.resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
