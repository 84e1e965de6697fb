"""A second opinion on payloads: the batch in one, read by other code than the decoder's.

Where an index is judged by its engine's stream, the judge must not read the stream with the eyes of the
judged. So this shares the words (`records`) and the errors with the decoder and no code: it unpacks
MessagePack by hand, knows the published fields from tables of its own and takes the low 64 bits of hashes by
itself. Slow, and short enough to be checked against the wire's description by eye.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from resync.kvsync.errors import WireError
from resync.kvsync.records import AllBlocksCleared, Batch, BlockHash, BlockRemoved, BlockStored, KVEvent
from resync.kvsync.unpacking import unpack

_HASH_BYTES_MIN: Final = 8
_SECONDS_MAX: Final = 1e12

_BATCH: Final = ("ts", "events", "data_parallel_rank")
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "BlockStored": (
        "block_hashes",
        "parent_block_hash",
        "token_ids",
        "block_size",
        "lora_id",
        "medium",
        "lora_name",
        "extra_keys",
        "group_idx",
    ),
    "BlockRemoved": ("block_hashes", "medium", "group_idx"),
    "AllBlocksCleared": (),
}
_NEEDED: Final = {"BlockStored": 4, "BlockRemoved": 1, "AllBlocksCleared": 0}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and (
        value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value)
    )


def _is_hash(value: Any) -> bool:
    return type(value) is int or (isinstance(value, bytes) and len(value) >= _HASH_BYTES_MIN)


def _is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


_FITS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "ts": lambda value: type(value) in {int, float} and 0 <= value < _SECONDS_MAX,
    "events": lambda value: isinstance(value, list),
    "data_parallel_rank": lambda value: value is None or type(value) is int,
    "block_hashes": _is_list_of(_is_hash),
    "parent_block_hash": lambda value: value is None or _is_hash(value),
    "token_ids": _is_list_of(lambda value: type(value) is int),
    "block_size": lambda value: type(value) is int and value > 0,
    "lora_id": lambda value: value is None or type(value) is int,
    "medium": lambda value: value is None or _is_text(value),
    "lora_name": lambda value: value is None or _is_text(value),
    "extra_keys": lambda _value: True,
    "group_idx": lambda value: value is None or type(value) is int,
}


def read(payload: bytes) -> Batch:
    """The batch in `payload`; what is no known event in it counts as malformed. Raises WireError."""
    return interpret(unpack(payload))


def interpret(unpacked: Any) -> Batch:
    """The batch that an unpacked payload is. Raises WireError when it is none."""
    batch = _by_name(unpacked, _BATCH)
    if batch is None or not _fits(batch, _BATCH, needed=2):
        raise WireError("not a batch of KV events")
    events = [_event(said) for said in batch["events"]]
    known = tuple(event for event in events if event is not None)
    return Batch(batch["ts"], known, batch.get("data_parallel_rank"), malformed=len(events) - len(known))


def _by_name(said: Any, positions: tuple[str, ...]) -> dict[str, Any] | None:
    if isinstance(said, list):
        return dict(zip(positions, said, strict=False))
    return said if isinstance(said, dict) and all(map(_is_text, said)) else None


def _fits(said: Mapping[str, Any], fields: tuple[str, ...], *, needed: int) -> bool:
    return all(name in said for name in fields[:needed]) and all(
        _FITS[name](said[name]) for name in fields if name in said
    )


def _event(said: Any) -> KVEvent | None:
    name = _type_name(said)
    if name not in _FIELDS:
        return None
    event = _by_name(said[1:] if isinstance(said, list) else said, _FIELDS[name])
    if event is None or not _fits(event, _FIELDS[name], needed=_NEEDED[name]):
        return None
    return _RECORD[name](event)


def _type_name(said: Any) -> str:
    name = said[0] if isinstance(said, list) and said else said.get("type") if isinstance(said, dict) else ""
    return name if isinstance(name, str) else ""


def _low(value: int | bytes) -> BlockHash:
    return (value if isinstance(value, int) else int.from_bytes(value, "big")) % 2**64


def _stored(said: Mapping[str, Any]) -> BlockStored:
    parent = said["parent_block_hash"]
    return BlockStored(
        block_hashes=tuple(map(_low, said["block_hashes"])),
        parent_block_hash=None if parent is None else _low(parent),
        token_ids=tuple(said["token_ids"]),
        block_size=said["block_size"],
        lora_id=said.get("lora_id"),
        medium=said.get("medium", "GPU"),
        lora_name=said.get("lora_name"),
        group_idx=said.get("group_idx") or 0,
    )


def _removed(said: Mapping[str, Any]) -> BlockRemoved:
    return BlockRemoved(
        block_hashes=tuple(map(_low, said["block_hashes"])),
        medium=said.get("medium", "GPU"),
        group_idx=said.get("group_idx") or 0,
    )


_RECORD: Final[Mapping[str, Callable[[Mapping[str, Any]], KVEvent]]] = {
    "BlockStored": _stored,
    "BlockRemoved": _removed,
    "AllBlocksCleared": lambda _said: AllBlocksCleared(),
}
