"""A typed batch -> the payload as a publisher of a given dialect sends it.

The fields that a record does not keep are sent as nil, or left out where a map leaves them out; those that
the dialect does not have yet are not sent at all. An event of an unknown type is its name, behind the others.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from resync.kvsync.dialects import ALWAYS_PRESENT, NEWEST_OF, Dialect, HashForm, WireForm
from resync.kvsync.records import Batch, BlockHash, BlockRemoved, BlockStored, KVEvent

BYTES_HASH_LENGTH: Final = 32

_AS_SENT: Final[Mapping[HashForm, Callable[[BlockHash], int | bytes]]] = {
    HashForm.INT: lambda value: value,
    HashForm.BYTES: lambda value: value.to_bytes(BYTES_HASH_LENGTH, "big"),
}


def encode_batch(batch: Batch, form: WireForm | Dialect, hash_form: HashForm = HashForm.INT) -> bytes:
    """The msgpack payload of `batch` as a publisher of that dialect sends it; a form means its newest one.

    `WireForm.MAP_BATCH` is the commit behind AIBrix #2587.
    """
    dialect = NEWEST_OF[form] if isinstance(form, WireForm) else form
    as_sent = _AS_SENT[hash_form]
    named = [(type(event).__name__, _fields(event, dialect, as_sent)) for event in batch.events]
    named += [(name, {}) for name in batch.unknown_events]
    if dialect.form is WireForm.ARRAY:
        rank = [batch.dp_rank] if dialect.ranked else []
        return msgspec.msgpack.encode([batch.ts, [[name, *fields.values()] for name, fields in named], *rank])
    maps = [{"type": name, **_without_absent(fields)} for name, fields in named]
    if dialect.form is WireForm.MAP:
        return msgspec.msgpack.encode([batch.ts, maps, batch.dp_rank])
    return msgspec.msgpack.encode({"ts": batch.ts, "events": maps, "data_parallel_rank": batch.dp_rank})


def _fields(
    event: KVEvent, dialect: Dialect, as_sent: Callable[[BlockHash], int | bytes]
) -> dict[str, object]:
    if not isinstance(event, BlockStored | BlockRemoved):
        return {}
    names = dialect.stored if isinstance(event, BlockStored) else dialect.removed
    sent: dict[str, Any] = {name: getattr(event, name, None) for name in names}
    sent["block_hashes"] = [as_sent(value) for value in event.block_hashes]
    parent = sent.get("parent_block_hash")
    if parent is not None:
        sent["parent_block_hash"] = as_sent(parent)
    return sent


def _without_absent(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None or name in ALWAYS_PRESENT}
