"""What callers send, parsed once into typed records; what does not fit gets a sentence."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

from resync.engine import tokens
from resync.engine.errors import RequestRefusedError

TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Prompt = str | list[TokenId]
CHAT_TOKENS = 16
"""Output of a chat that does not say how much; vLLM goes on to the end of the context."""


class CompletionBody(msgspec.Struct, frozen=True):
    """What `POST /v1/completions` understands; other OpenAI fields are ignored."""

    model: str
    prompt: Prompt
    max_tokens: int = 16
    stream: bool = False


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """One part of a message; only text is simulated."""

    text: str


class ChatMessage(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """All it says."""
        parts = self.content if isinstance(self.content, list) else [TextPart(self.content or "")]
        return " ".join(part.text for part in parts)


class ChatBody(msgspec.Struct, frozen=True):
    """What `POST /v1/chat/completions` understands; other OpenAI fields are ignored."""

    model: str
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool = False

    @property
    def output_tokens(self) -> int:
        """How much to generate."""
        asked = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return CHAT_TOKENS if asked is None else asked


class TokenizeBody(msgspec.Struct, frozen=True):
    """What `POST /tokenize` understands: text, or a conversation."""

    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    model: str | None = None


class MatchBody(msgspec.Struct, frozen=True):
    """What `POST /truth/match` asks about: what is held of a prompt now, and was already `for_s` ago."""

    prompt: Prompt
    for_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


def conversation(messages: Sequence[ChatMessage]) -> str:
    """The prompt a chat template makes: turns in order, so a longer conversation extends a shorter one."""
    turns = "".join(f"<|{message.role}|> {message.text} " for message in messages)
    return f"{turns}<|assistant|>"


Body = TypeVar("Body", CompletionBody, ChatBody, TokenizeBody, MatchBody)


async def read(request: web.Request, kind: type[Body]) -> Body:
    """The body of a request. Raises RequestRefusedError with a sentence."""
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise RequestRefusedError(f"the body cannot be used: {error}") from error


def token_ids(prompt: Prompt) -> tuple[int, ...]:
    """The prompt as the engine computes it."""
    return tokens.tokenize(prompt) if isinstance(prompt, str) else tuple(prompt)
