"""Text to tokens, by asking an engine: only it knows its tokenizer and its chat template.

AIBrix asks one engine for all (`tokenizer_pool.go`): while that one is gone, every request waits or fails.
Here the engines take turns, each question has a limit, and a prompt that nobody has turned into tokens in
time is routed by load and counted (`tokenize_failed`).
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from itertools import count

import aiohttp
import msgspec

TIMEOUT_S = 1.0
ENGINES_MAX = 2
"""So many engines are asked for one prompt, one after the other."""

log = logging.getLogger(__name__)


class _Tokens(msgspec.Struct, frozen=True):
    tokens: list[int]


_TOKENS = msgspec.json.Decoder(_Tokens)
_LIMIT = aiohttp.ClientTimeout(total=TIMEOUT_S)


class Tokenizer:
    """Asks over the session that requests go over."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._turns = count()

    async def tokens(self, asked: object, engines: Sequence[str]) -> tuple[int, ...] | None:
        """The tokens of what vLLM's `POST /tokenize` takes; `engines` are base URLs. None: nobody told."""
        body = msgspec.json.encode(asked)
        turn = next(self._turns)
        for position in range(min(ENGINES_MAX, len(engines))):
            found = await self._ask(engines[(turn + position) % len(engines)], body)
            if found is not None:
                return found
        return None

    async def _ask(self, engine: str, body: bytes) -> tuple[int, ...] | None:
        try:
            async with self._session.post(
                f"{engine}/tokenize", data=body, headers={"Content-Type": "application/json"}, timeout=_LIMIT
            ) as answer:
                said = await answer.read()
            if answer.status == HTTPStatus.OK:
                return tuple(_TOKENS.decode(said).tokens)
            log.warning("%s does not tokenize: %d", engine, answer.status)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as reason:
            log.warning("%s does not tokenize: %s %s", engine, type(reason).__name__, reason)
        return None
