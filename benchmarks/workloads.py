"""The work that is timed: the task document's two benchmarks, and a loop that none of our code is in.

The loop does what the index does, hashing short blocks and counting them in a dict, so that what slows the
machine down slows both alike. A ratio to it says something about the code; a time only about the day.

Work comes in steps of less than a millisecond, so that each gets through undisturbed now and then.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from xxhash import xxh64_intdigest

from resync.kvsync.index import PrefixIndex
from resync.kvsync.records import BlockStored

Step = Callable[[], None]
Work = Callable[[], Iterable[Step]]
"""All of it, begun anew with each call: the same steps in the same order."""

EVENTS: Final = 1000
BLOCKS_PER_EVENT: Final = 3
TOKENS_PER_BLOCK: Final = 16
"""The document's 64 bytes: 4 a token."""

PREFIXES: Final = 1000
PREFIX_BYTES: Final = 256
PODS: Final = 10
MATCH_BLOCK_TOKENS: Final = 4
"""AIBrix' default block of 16 bytes, which the document's 256 bytes are 16 of."""

MATCHES: Final = 100
STEPS: Final = 10
MODEL: Final = "test-model"


def calibration() -> Iterator[Step]:
    """About as much work as one of the others."""
    link = struct.Struct("<Q64s").pack
    block = bytes(64)

    def step() -> None:
        counted: dict[int, int] = {}
        key = 0
        for _ in range(EVENTS * BLOCKS_PER_EVENT // STEPS):
            key = xxh64_intdigest(link(key, block), 0)
            counted[key] = counted.get(key, 0) + 1

    yield from [step] * STEPS


def event_processing() -> Work:
    """1,000 events of 3 blocks of 64 bytes of tokens, into an empty index."""
    tokens = (0,) * (BLOCKS_PER_EVENT * TOKENS_PER_BLOCK)
    events = [
        BlockStored((n * 3, n * 3 + 1, n * 3 + 2), None, tokens, TOKENS_PER_BLOCK) for n in range(EVENTS)
    ]

    def store(index: PrefixIndex, some: list[BlockStored]) -> None:
        for event in some:
            index.store("pod-1", event)

    def work() -> Iterator[Step]:
        index = PrefixIndex(block_size=TOKENS_PER_BLOCK)
        index.introduce("pod-1", MODEL)
        size = EVENTS // STEPS
        yield from (partial(store, index, events[n : n + size]) for n in range(0, EVENTS, size))

    return work


def prefix_matching() -> Work:
    """A prompt of 256 bytes against an index in which 10 pods have stored it 1,000 times, 100 times over."""
    data = bytes(n % 256 for n in range(PREFIX_BYTES))
    tokens = struct.unpack(f">{PREFIX_BYTES // 4}I", data)
    blocks = len(tokens) // MATCH_BLOCK_TOKENS
    index = PrefixIndex(block_size=MATCH_BLOCK_TOKENS)
    for n in range(PREFIXES):
        pod_key = f"pod-{n % PODS}"
        index.introduce(pod_key, MODEL)
        hashes = tuple(range(n * blocks, (n + 1) * blocks))
        index.store(pod_key, BlockStored(hashes, None, tokens, MATCH_BLOCK_TOKENS))
    full = {f"pod-{n}": blocks for n in range(PODS)}
    if index.match(tokens, model=MODEL) != full:
        raise AssertionError(f"the match is not full before timing: {index.match(tokens, model=MODEL)}")

    def step() -> None:
        for _ in range(MATCHES // STEPS):
            index.match(tokens, model=MODEL)

    return lambda: [step] * STEPS


DOCUMENTS: Final[dict[str, Callable[[], Work]]] = {
    "BenchmarkSyncIndexerEventProcessing": event_processing,
    "BenchmarkPrefixMatching": prefix_matching,
}
"""By the names that they have in the task document."""
