"""Reading a batch piece by piece: what can be read is kept in its order, what cannot is named.

For everything that the strict decoders refuse: unknown types and fields of a newer engine, maps around the
batch, a malformed event among good ones. A batch and an event are the same thing here: fields by name, from a
map or by their position in an array. Each known field has its decoder; a field without one is counted.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from resync.kvsync.dialects import NEWEST_OF, WireForm
from resync.kvsync.errors import WireError
from resync.kvsync.records import (
    HASH_BYTES_MIN,
    AllBlocksCleared,
    Batch,
    BlockRemoved,
    BlockStored,
    KVEvent,
    canonical_hash,
)

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Everything that msgspec raises for bytes that it cannot read; the last for nesting without end."""

Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, lt=1e12)]
"""A wall time; what is no number would spoil every age computed from it."""

Hash: TypeAlias = int | Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES_MIN)]
BlockSize: TypeAlias = Annotated[int, msgspec.Meta(gt=0)]

_Fields: TypeAlias = dict[str, msgspec.Raw]

_MAP_FIRST_BYTES: Final = frozenset(bytes([first]) for first in (*range(0x80, 0x90), 0xDE, 0xDF))
_MAP: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_ARRAY: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_NAME: Final = msgspec.msgpack.Decoder(str)


class _Reader(msgspec.Struct, frozen=True):
    """How one field is read: its type on the wire, then what a record keeps of it."""

    decoder: msgspec.msgpack.Decoder[Any]
    kept: Callable[[Any], Any]

    def read(self, name: str, raw: msgspec.Raw) -> Any:
        """The value. Raises ValidationError, which names the field."""
        try:
            return self.kept(self.decoder.decode(raw))
        except UNREADABLE as error:
            raise msgspec.ValidationError(f"`{name}`: {error}") from error


def _reader(kind: Any, kept: Callable[[Any], Any] = lambda value: value) -> _Reader:
    return _Reader(msgspec.msgpack.Decoder(kind), kept)


_BATCH_READERS: Final[Mapping[str, _Reader]] = {
    "ts": _reader(Seconds),
    "events": _reader(list[msgspec.Raw]),
    "data_parallel_rank": _reader(int | None),
}
_EVENT_READERS: Final[Mapping[str, _Reader]] = {
    "block_hashes": _reader(list[Hash], lambda hashes: tuple(map(canonical_hash, hashes))),
    "parent_block_hash": _reader(Hash | None, lambda one: None if one is None else canonical_hash(one)),
    "token_ids": _reader(tuple[int, ...]),
    "block_size": _reader(BlockSize),
    "lora_id": _reader(int | None),
    "lora_name": _reader(str | None),
    "medium": _reader(str | None),
    "group_idx": _reader(int | None, lambda group: group or 0),
}

_POSITIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "BlockStored": NEWEST_OF[WireForm.ARRAY].stored,
    "BlockRemoved": NEWEST_OF[WireForm.ARRAY].removed,
    "AllBlocksCleared": (),
}
_RECORDS: Final[Mapping[str, type[KVEvent]]] = {
    "BlockStored": BlockStored,
    "BlockRemoved": BlockRemoved,
    "AllBlocksCleared": AllBlocksCleared,
}
_READERS: Final = {
    name: {field.name: _EVENT_READERS[field.name] for field in msgspec.structs.fields(record)}
    for name, record in _RECORDS.items()
}
_REQUIRED: Final = {
    name: {field.name for field in msgspec.structs.fields(record) if field.required}
    for name, record in _RECORDS.items()
}
_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "BlockStored": frozenset({*NEWEST_OF[WireForm.MAP].stored, "cache_salt"}),  # the last is SGLang's own
    "BlockRemoved": frozenset(NEWEST_OF[WireForm.MAP].removed),
    "AllBlocksCleared": frozenset(),
}


def salvage(payload: bytes) -> Batch:
    """The batch in `payload`, as far as it can be read. Raises WireError where there is none."""
    header, unknown_fields = _header(payload)
    events: list[KVEvent] = []
    unknown_events: list[str] = []
    malformed = 0
    for raw in header["events"]:
        name = "untyped"
        try:
            name, fields = _named(raw)
            if name in _KNOWN:
                events.append(_RECORDS[name](**_read(fields, _READERS[name], required=_REQUIRED[name])))
                unknown_fields += [f"{name}.{field}" for field in fields if field not in _KNOWN[name]]
            else:
                unknown_events.append(name)
        except UNREADABLE as error:
            malformed += 1
            unknown_events.append(f"{name}: {error}")
    rank = header.get("data_parallel_rank")
    return Batch(header["ts"], tuple(events), rank, tuple(unknown_events), malformed, tuple(unknown_fields))


def _header(payload: bytes) -> tuple[dict[str, Any], list[str]]:
    try:
        whole = (
            _MAP.decode(payload) if _is_map(payload) else _placed(_ARRAY.decode(payload), (*_BATCH_READERS,))
        )
        header = _read(whole, _BATCH_READERS, required={"ts", "events"})
    except UNREADABLE as error:
        where = f" (byte {len(payload)})" if "truncated" in str(error) else ""
        raise WireError(f"not a batch of KV events: {error}{where}") from error
    return header, [f"batch.{name}" for name in whole if name not in _BATCH_READERS]


def _is_map(raw: bytes | msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:1]) in _MAP_FIRST_BYTES


def _placed(values: list[msgspec.Raw], names: tuple[str, ...]) -> _Fields:
    """Values by the names of their positions; those behind the last name are called by their number."""
    numbers = [f"[{position}]" for position in range(len(names), len(values))]
    return dict(zip((*names, *numbers), values, strict=False))


def _named(raw: msgspec.Raw) -> tuple[str, _Fields]:
    """The event's type and its fields."""
    if _is_map(raw):
        fields = _MAP.decode(raw)
        if "type" not in fields:
            raise msgspec.ValidationError("a map without `type`")
        return _NAME.decode(fields.pop("type")), fields
    values = _ARRAY.decode(raw)
    if not values:
        raise msgspec.ValidationError("an empty array")
    name = _NAME.decode(values[0])
    return name, _placed(values[1:], _POSITIONS.get(name, ()))


def _read(fields: _Fields, readers: Mapping[str, _Reader], *, required: AbstractSet[str]) -> dict[str, Any]:
    for field in sorted(required - fields.keys()):
        raise msgspec.ValidationError(f"the field `{field}` is missing")
    return {field: reader.read(field, fields[field]) for field, reader in readers.items() if field in fields}
