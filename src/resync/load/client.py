"""HTTP as the load uses it: completions, and the question what engines hold. Failures come back as words."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import msgspec

AUDIT_TIMEOUT_S = 1.0
"""An engine that has not answered `/truth/match` by then leaves the request unaudited."""
SETTLED_S = 0.25
"""What an engine has held for less than this is not counted as held: its event may still be under way."""


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens_details: _Details


class _Completion(msgspec.Struct, frozen=True):
    usage: _Usage


_COMPLETION = msgspec.json.Decoder(_Completion)
_MATCH = msgspec.json.Decoder(_Details)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a completion ended: an HTTP status, or "timeout", "unreachable", "unreadable"."""

    status: str
    cached_tokens: int = 0


class Client:
    """One connection pool, calling from the pod's own address."""

    def __init__(
        self, *, model: str, max_tokens: int, host: str, timeout_s: float, connections_max: int
    ) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections_max, local_addr=(host, 0)),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            headers={"Content-Type": "application/json"},
        )

    async def close(self) -> None:
        """Give the connections back."""
        await self._session.close()

    async def healthy(self, base: str) -> bool:
        """Whether `GET /health` answers 200."""
        try:
            async with self._session.get(f"{base}/health") as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def complete(self, base: str, prompt: Sequence[int], *, max_tokens: int | None = None) -> Answer:
        """Ask for a completion; never raises for what the other side does."""
        body = msgspec.json.encode(
            {"model": self._model, "prompt": prompt, "max_tokens": max_tokens or self._max_tokens}
        )
        try:
            async with self._session.post(f"{base}/v1/completions", data=body) as response:
                content = await response.read()
        except TimeoutError:
            return Answer("timeout")
        except aiohttp.ClientError:
            return Answer("unreachable")
        if response.status != HTTPStatus.OK:
            return Answer(str(response.status))
        try:
            return Answer("200", _COMPLETION.decode(content).usage.prompt_tokens_details.cached_tokens)
        except msgspec.DecodeError:
            return Answer("unreadable")

    async def held_tokens(self, engines: Sequence[str], prompt: Sequence[int]) -> int | None:
        """The most tokens of `prompt` any engine has held for SETTLED_S; None when one is late to answer."""
        body = msgspec.json.encode({"prompt": prompt, "for_s": SETTLED_S})
        held = await asyncio.gather(*(self._held_by(engine, body) for engine in engines))
        known = [tokens for tokens in held if tokens is not None]
        return max(known) if len(known) == len(engines) else None

    async def _held_by(self, engine: str, body: bytes) -> int | None:
        timeout = aiohttp.ClientTimeout(total=AUDIT_TIMEOUT_S)
        try:
            async with self._session.post(f"{engine}/truth/match", data=body, timeout=timeout) as response:
                content = await response.read()
            return _MATCH.decode(content).cached_tokens if response.status == HTTPStatus.OK else None
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
            return None
