"""Carrying a completion to the chosen engine and its answer back, and counting requests in flight.

Connections are kept open and bound to the pod's own address. Whether a failed request may be tried
elsewhere depends on whether it can have happened: where no connection could be made nothing was sent, so
the next engine is asked; once the request is out, its fate is unknown and the client is told so.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from http import HTTPStatus

import aiohttp
import msgspec
from aiohttp import web

from resync.gateway.errors import (
    BadRequestError,
    EngineLostError,
    GatewayError,
    NoEngineError,
    NoSuchModelError,
)
from resync.gateway.routing import Routing
from resync.gateway.tokenizing import Tokenizer
from resync.kvsync.ranks import RANK_HEADER
from resync.kvsync.router import Decision, Prompt

BODY_BYTES_MAX = 16 << 20
JSON = "application/json"


class _Completion(msgspec.Struct, frozen=True):
    model: str
    prompt: list[int] | str = ""


class _Chat(msgspec.Struct, frozen=True):
    model: str
    messages: msgspec.Raw


_ASKED: dict[str, msgspec.json.Decoder[_Completion | _Chat]] = {
    "/v1/completions": msgspec.json.Decoder(_Completion),
    "/v1/chat/completions": msgspec.json.Decoder(_Chat),
}
PATHS = tuple(_ASKED)
"""What is proxied, to the same path of an engine."""


class Route(msgspec.Struct, frozen=True):
    """An engine that can take a request now; `rank` is None where its pod has no other."""

    pod_key: str
    pod_name: str
    ip: str
    base_url: str
    rank: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What is said to it beside the body."""
        said = {"Content-Type": JSON}
        return said if self.rank is None else {**said, RANK_HEADER: str(self.rank)}


STATUSES: dict[type[GatewayError], HTTPStatus] = {
    BadRequestError: HTTPStatus.BAD_REQUEST,
    NoSuchModelError: HTTPStatus.NOT_FOUND,
    NoEngineError: HTTPStatus.SERVICE_UNAVAILABLE,
    EngineLostError: HTTPStatus.BAD_GATEWAY,
}

Ready = Callable[[str], Mapping[str, Route]]
"""Model -> engines that serve it and are ready, by pod key."""


class Proxy:
    """The front for completions."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        routing: Routing,
        tokenizer: Tokenizer | None,
        ready: Ready,
        models: Callable[[], AbstractSet[str]],
        running_changed: Callable[[str, int], None],
    ) -> None:
        self._session = session
        self._routing = routing
        self._tokenizer = tokenizer
        self._ready = ready
        self._models = models
        self._running: Counter[str] = Counter()
        self._running_changed = running_changed

    async def completions(self, request: web.Request) -> web.Response:
        """Route one completion, of a prompt or of a chat, and answer with what the engine said."""
        body = await request.read()
        try:
            asked = self._read(request.path, body)
            prompt = Prompt(asked.model, await self._tokens(asked))
            return await self._anywhere(request.path, prompt, body)
        except tuple(STATUSES) as error:
            return refusal(STATUSES[type(error)], str(error))

    def _read(self, path: str, body: bytes) -> _Completion | _Chat:
        """The request, as far as routing needs it. Raises BadRequestError, NoSuchModelError."""
        try:
            asked = _ASKED[path].decode(body)
        except msgspec.MsgspecError as reason:
            raise BadRequestError(f"not a completion request: {reason}") from reason
        models = self._models()
        if models and asked.model not in models:
            raise NoSuchModelError(f"no engine serves {asked.model!r}; there are {', '.join(sorted(models))}")
        return asked

    async def _tokens(self, asked: _Completion | _Chat) -> tuple[int, ...] | None:
        """The prompt's tokens, asked of an engine where it is text; None when nobody told them."""
        if isinstance(asked, _Completion) and not isinstance(asked.prompt, str):
            return tuple(asked.prompt)
        if self._tokenizer is None:
            return None
        # The ranks of one server are asked at one place: once.
        engines = {route.base_url: None for _, route in sorted(self._ready(asked.model).items())}
        return await self._tokenizer.tokens(asked, [*engines])

    async def _anywhere(self, path: str, prompt: Prompt, body: bytes) -> web.Response:
        """Try each engine once, until one connects. Raises NoEngineError, EngineLostError."""
        routes = dict(self._ready(prompt.model))
        while True:
            decision = self._routing.choose(prompt, {pod: self._running[pod] for pod in routes})
            route = routes.pop(decision.pod_key)
            try:
                return await self._send(path, route, decision, body)
            except aiohttp.ClientConnectorError:
                # Where one rank cannot be reached, none of its server can.
                routes = {pod: other for pod, other in routes.items() if other.base_url != route.base_url}
            except (aiohttp.ClientError, TimeoutError) as reason:
                raise EngineLostError(
                    f"{route.pod_key} went away after the request was sent ({type(reason).__name__}):"
                    " it may have been carried out"
                ) from reason

    async def _send(self, path: str, route: Route, decision: Decision, body: bytes) -> web.Response:
        self._change(route.pod_key, +1)
        try:
            async with self._session.post(route.base_url + path, data=body, headers=route.headers) as answer:
                return web.Response(
                    body=await answer.read(),
                    status=answer.status,
                    headers={
                        "Content-Type": answer.headers.get("Content-Type", JSON),
                        "target-pod": route.pod_name,
                        "target-pod-ip": route.ip,
                        "x-routing-selection": decision.selection.value,
                    },
                )
        finally:
            self._change(route.pod_key, -1)

    def _change(self, pod_key: str, by: int) -> None:
        self._running[pod_key] += by
        self._running_changed(pod_key, self._running[pod_key])
        if not self._running[pod_key]:
            del self._running[pod_key]


def refusal(status: HTTPStatus, sentence: str) -> web.Response:
    """An error in OpenAI's form."""
    error = {"message": sentence, "type": status.phrase, "code": status.value}
    return web.Response(body=msgspec.json.encode({"error": error}), status=status, content_type=JSON)
