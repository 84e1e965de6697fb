"""How a publisher can answer a replay request: rightly, and in the ways seen in the field.

An answer is a function from what would be right (the batches that the ring still has, then the end marker) to
what is sent. Where each comes from: vLLM's ROUTER drops for a full peer (`hole`, `cut_short`,
`without_end`), its ring forgets (`truncated`), an engine without a replay endpoint or behind a partition says
nothing (`silence`), SGLang #38945 sent 2 of 1,024 batches and no marker.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from resync.kvsync.records import Message, ReplayEnd

Frames: TypeAlias = Sequence[Message | ReplayEnd]
Answer: TypeAlias = Callable[[Frames], Frames]


def complete(right: Frames) -> Frames:
    """Everything, then the end marker."""
    return right


def silence(_right: Frames) -> Frames:
    """Nothing, not even the end marker."""
    return ()


def only_end(right: Frames) -> Frames:
    """The end marker alone, as an engine that has published nothing."""
    return right[-1:]


def without_end(right: Frames) -> Frames:
    """Everything but the end marker."""
    return right[:-1]


def early_end(*, after: int) -> Answer:
    """The end marker after the first `after` batches, and then the others."""
    return lambda right: (*right[:after], right[-1], *right[after:-1])


def cut_short(*, after: int) -> Answer:
    """The first `after` batches and the end marker: a full pipe lost what was between."""
    return lambda right: (*right[:-1][:after], right[-1])


def truncated(*, by: int) -> Answer:
    """Without the first `by` batches: the ring had lost them."""
    return lambda right: (*right[:-1][by:], right[-1])


def hole(*, at: int, count: int = 1) -> Answer:
    """Without `count` batches from the one at place `at` on."""
    return lambda right: (*right[:-1][:at], *right[:-1][at + count :], right[-1])
