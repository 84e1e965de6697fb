"""Text to token ids and back, for callers that send text: one token per word, the same everywhere."""

import re
from collections.abc import Iterable

import xxhash

from resync.engine.scheduling import VOCABULARY

_WORD = re.compile(r"\w+|[^\w\s]")


def tokenize(text: str) -> tuple[int, ...]:
    """Token ids of `text`: each word or punctuation mark becomes a fixed id below the vocabulary's size."""
    return tuple(xxhash.xxh64_intdigest(word.encode()) % VOCABULARY for word in _WORD.findall(text))


def as_text(tokens: Iterable[int]) -> str:
    """A readable stand-in for generated tokens."""
    return " ".join(f"t{token}" for token in tokens)
