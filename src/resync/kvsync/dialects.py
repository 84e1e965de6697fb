"""What the publishers of KV events have spoken, release by release of vLLM: one table for both directions.

vLLM changed the encoding twice without a version field: events were msgpack arrays with the class name first
up to 0.23, are maps with the name under "type" from 0.24, and one commit sent the batch itself as a map
(AIBrix #2587). Fields were only ever appended. The table was read from `vllm/distributed/kv_events.py` in the
releases named; "since" is the first release read that has the row.
"""

from collections.abc import Mapping
from enum import StrEnum
from itertools import accumulate
from typing import Final

import msgspec


class WireForm(StrEnum):
    """How a publisher encodes.

    Positional events (vLLM <= 0.23), maps (>= 0.24), or the batch as a map as well.
    """

    ARRAY = "array"
    MAP = "map"
    MAP_BATCH = "map-batch"


class HashForm(StrEnum):
    """How a publisher sends block hashes: 64-bit ints, or the 32 raw bytes."""

    INT = "int"
    BYTES = "bytes"


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One way to publish: the fields of each event, in order, and the shape of batches and replay answers.

    `ranked`: a batch has the data-parallel rank as third element. `topic_frame`: replayed batches carry the
    topic, as live ones do (vLLM PR 45177).
    """

    since: str
    form: WireForm
    stored: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    ranked: bool = True
    topic_frame: bool = False


ALWAYS_PRESENT: Final = frozenset(
    {"block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name"}
)
"""Fields without a default: a map has them as nil where the optional others are left out."""

_ROOT: Final = ("block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id")
_SPEC: Final = ("kv_cache_spec_kind", "kv_cache_spec_sliding_window")
# What each release changed; `stored` and `removed` are the fields it appended.
_CHANGES: Final = (
    Dialect(since="0.9.0", form=WireForm.ARRAY, stored=_ROOT, removed=("block_hashes",), ranked=False),
    Dialect(since="0.9.1", form=WireForm.ARRAY),
    Dialect(since="0.10.2", form=WireForm.ARRAY, stored=("medium",), removed=("medium",)),
    Dialect(since="0.14.1", form=WireForm.ARRAY, stored=("lora_name",)),
    Dialect(since="0.17.1", form=WireForm.ARRAY, stored=("extra_keys",)),
    Dialect(since="0.20.2", form=WireForm.ARRAY, stored=("group_idx",), removed=("group_idx",)),
    Dialect(since="0.22.1", form=WireForm.ARRAY, stored=_SPEC),
    Dialect(since="0.24.0", form=WireForm.MAP),
    Dialect(since="0.26.0", form=WireForm.MAP, stored=("locality",), removed=("locality",), topic_frame=True),
    Dialect(
        since="0.29.0", form=WireForm.MAP, stored=("ownership",), removed=("ownership",), topic_frame=True
    ),
    Dialect(since="0.30.0", form=WireForm.MAP, stored=("session_id",), topic_frame=True),
)


def _appended(before: Dialect, change: Dialect) -> Dialect:
    return msgspec.structs.replace(
        change, stored=before.stored + change.stored, removed=before.removed + change.removed
    )


DIALECTS: Final[Mapping[str, Dialect]] = {one.since: one for one in accumulate(_CHANGES, _appended)}
"""By the first release that speaks it, oldest first."""

NEWEST_OF: Final[Mapping[WireForm, Dialect]] = {
    **{one.form: one for one in DIALECTS.values()},
    WireForm.MAP_BATCH: msgspec.structs.replace(DIALECTS["0.24.0"], form=WireForm.MAP_BATCH),
}
"""The last dialect of each form."""
