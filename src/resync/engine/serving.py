"""The engine over HTTP: vLLM's endpoints, and the two that say what the pool holds.

Bodies are parsed once into typed records; a request that does not fit gets a sentence in OpenAI's error form.
"""

import os
import secrets
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from resync.engine import bodies, tokens
from resync.engine.errors import JournalTooShortError, RequestRefusedError, SequenceAheadError
from resync.engine.hashing import FullBlock, extend
from resync.engine.history import History, Past
from resync.engine.scheduling import Request
from resync.engine.stepping import Stepper
from resync.kits.clocks import Clock

VERSION = "0.32.0+resync"
"""The vLLM release whose behaviour is simulated."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EngineServer:
    """All endpoints of one engine."""

    def __init__(
        self,
        stepper: Stepper,
        history: History,
        *,
        model: str,
        pod_key: str,
        sources: dict[str, dict[str, str | None]],
        registry: CollectorRegistry,
        clock: Clock,
    ) -> None:
        self._stepper = stepper
        self._pool = history.pool
        self._history = history
        self._model = model
        self._pod_key = pod_key
        self._sources = sources
        self._registry = registry
        self._clock = clock
        self._started_s = clock.wall_s()
        self.incarnation = secrets.token_hex(8)

    def application(self) -> web.Application:
        """The routes, ready to be served."""
        application = web.Application(middlewares=[_refusals_as_openai_errors])
        application.add_routes(
            [
                web.get("/health", self._health),
                web.get("/version", self._version),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.get("/kv_event_sources", self._kv_event_sources),
                web.get("/truth", self._truth),
                web.post("/truth/match", self._match),
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chat),
                web.post("/tokenize", self._tokenize),
            ]
        )
        if os.environ.get("VLLM_SERVER_DEV_MODE") == "1":
            application.add_routes([web.post("/reset_prefix_cache", self._reset_prefix_cache)])
        return application

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        return _json({"version": VERSION})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _models(self, _: web.Request) -> web.Response:
        model = {
            "id": self._model,
            "object": "model",
            "created": int(self._started_s),
            "owned_by": "vllm",
            "root": self._model,
            "parent": None,
            "max_model_len": self._longest,
        }
        return _json({"object": "list", "data": [model]})

    async def _kv_event_sources(self, _: web.Request) -> web.Response:
        return _json(self._sources)

    async def _reset_prefix_cache(self, _: web.Request) -> web.Response:
        return _json({"success": self._pool.clear()})

    async def _match(self, request: web.Request) -> web.Response:
        body = await bodies.read(request, bodies.MatchBody)
        chain: list[FullBlock] = []
        extend(chain, bodies.token_ids(body.prompt), block_size=self._pool.block_size)
        return _json({"cached_tokens": self._held(chain, body.for_s) * self._pool.block_size})

    def _held(self, chain: Sequence[FullBlock], for_s: float) -> int:
        if not for_s:
            return self._pool.match(chain)
        try:
            return self._history.held_since(chain, monotonic_s=self._clock.monotonic_s() - for_s)
        except JournalTooShortError as error:
            raise RequestRefusedError(str(error), status=410) from error

    async def _truth(self, request: web.Request) -> web.Response:
        journal = self._pool.journal
        past = self._past(request.query.get("seq"))
        return _json(
            {
                "pod_key": self._pod_key,
                "incarnation": self.incarnation,
                "seq": past.seq,
                "published_seq": past.published_seq,
                "blocks": [[0, block.hash, copies, block.prefix_key] for block, copies in past.held.items()],
                "changed_blocks": past.changed_blocks,
                "oldest_pending_s": past.oldest_pending_s,
                "stored_total": journal.stored_total,
                "removed_total": journal.removed_total,
            }
        )

    def _past(self, seq: str | None) -> Past:
        if seq is None:
            return self._history.now()
        try:
            return self._history.at(int(seq))
        except ValueError as error:
            raise RequestRefusedError(f"seq is a batch number, not {seq!r}") from error
        except SequenceAheadError as error:
            raise RequestRefusedError(str(error), status=409) from error
        except JournalTooShortError as error:
            raise RequestRefusedError(str(error), status=410) from error

    async def _completions(self, request: web.Request) -> web.Response:
        body = await bodies.read(request, bodies.CompletionBody)
        self._check(body.model, stream=body.stream)
        work = Request(bodies.token_ids(body.prompt), body.max_tokens)
        await self._stepper.complete(work)
        return _json(self._completion(work, "text_completion", {"text": tokens.as_text(work.output)}))

    async def _chat(self, request: web.Request) -> web.Response:
        body = await bodies.read(request, bodies.ChatBody)
        self._check(body.model, stream=body.stream)
        work = Request(tokens.tokenize(bodies.conversation(body.messages)), body.output_tokens)
        await self._stepper.complete(work)
        message = {"role": "assistant", "content": tokens.as_text(work.output)}
        return _json(self._completion(work, "chat.completion", {"message": message}))

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await bodies.read(request, bodies.TokenizeBody)
        if (body.prompt is None) == (body.messages is None):
            raise RequestRefusedError("tokenize takes a `prompt` or `messages`, one of the two")
        self._check(body.model or self._model)
        text = body.prompt if body.messages is None else bodies.conversation(body.messages)
        ids = tokens.tokenize(text or "")
        answer = {"count": len(ids), "max_model_len": self._longest, "tokens": ids, "token_strs": None}
        return _json(answer)

    def _check(self, model: str, *, stream: bool = False) -> None:
        if model != self._model:
            raise RequestRefusedError(
                f"the model `{model}` does not exist; this is {self._model}", status=404
            )
        if stream:
            raise RequestRefusedError("streaming is not simulated: leave `stream` out")

    @property
    def _longest(self) -> int:
        return self._pool.slots_total * self._pool.block_size

    def _completion(self, work: Request, kind: str, choice: dict[str, object]) -> dict[str, object]:
        prompt_tokens, output_tokens = len(work.prompt), len(work.output)
        return {
            "id": f"{'chatcmpl' if kind == 'chat.completion' else 'cmpl'}-{secrets.token_hex(8)}",
            "object": kind,
            "created": int(self._clock.wall_s()),
            "model": self._model,
            "choices": [{"index": 0, "logprobs": None, "finish_reason": "length", **choice}],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": output_tokens,
                "total_tokens": prompt_tokens + output_tokens,
                "prompt_tokens_details": {"cached_tokens": work.cached_tokens},
            },
        }


def _json(content: object, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")


_ERROR_TYPES = {404: "NotFoundError", 503: "ServiceUnavailableError"}


@web.middleware
async def _refusals_as_openai_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestRefusedError as refusal:
        kind = _ERROR_TYPES.get(refusal.status, "BadRequestError")
        error = {"message": str(refusal), "type": kind, "param": None, "code": refusal.status}
        return _json({"error": error}, status=refusal.status)
