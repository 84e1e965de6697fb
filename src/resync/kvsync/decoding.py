"""A published payload -> the typed batch in it.

Decode the whole batch with one strict typed decoder per form, which is fast; only when all of them refuse,
read it event by event (`salvaging`), keep what can be read and name what cannot. One bad event must never
cost its neighbours (it does in llm-d-kv-cache and AIBrix), and a bad batch must never cost the connection.

Strict means that a field which nobody publishes today is refused here, so that it is counted there. Fields
that are published but say nothing about what is held are taken as they stand and dropped.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from resync.kvsync.records import (
    GPU,
    AllBlocksCleared,
    Batch,
    BlockHash,
    BlockRemoved,
    BlockStored,
    KVEvent,
    canonical_hash,
)
from resync.kvsync.salvaging import UNREADABLE, BlockSize, Hash, Seconds, salvage

_Event = TypeVar("_Event")
_NIL: Final = msgspec.Raw(b"\xc0")


# --- the wire's own shapes: the fields that are used, and (as Raw) those that are known and not used


class _StoredArray(msgspec.Struct, array_like=True, tag="BlockStored", forbid_unknown_fields=True, gc=False):
    block_hashes: tuple[Hash, ...]
    parent_block_hash: Hash | None
    token_ids: tuple[int, ...]
    block_size: BlockSize
    lora_id: int | None = None
    medium: str | None = GPU
    lora_name: str | None = None
    extra_keys: msgspec.Raw = _NIL
    group_idx: int | None = None
    kv_cache_spec_kind: msgspec.Raw = _NIL
    kv_cache_spec_sliding_window: msgspec.Raw = _NIL


class _StoredMap(msgspec.Struct, tag="BlockStored", forbid_unknown_fields=True, gc=False):
    block_hashes: tuple[Hash, ...]
    parent_block_hash: Hash | None
    token_ids: tuple[int, ...]
    block_size: BlockSize
    lora_id: int | None = None
    medium: str | None = GPU
    lora_name: str | None = None
    extra_keys: msgspec.Raw = _NIL
    group_idx: int | None = None
    kv_cache_spec_kind: msgspec.Raw = _NIL
    kv_cache_spec_sliding_window: msgspec.Raw = _NIL
    locality: msgspec.Raw = _NIL
    ownership: msgspec.Raw = _NIL
    session_id: msgspec.Raw = _NIL
    cache_salt: msgspec.Raw = _NIL  # SGLang's own


class _RemovedArray(
    msgspec.Struct, array_like=True, tag="BlockRemoved", forbid_unknown_fields=True, gc=False
):
    block_hashes: tuple[Hash, ...]
    medium: str | None = GPU
    group_idx: int | None = None


class _RemovedMap(msgspec.Struct, tag="BlockRemoved", forbid_unknown_fields=True, gc=False):
    block_hashes: tuple[Hash, ...]
    medium: str | None = GPU
    group_idx: int | None = None
    locality: msgspec.Raw = _NIL
    ownership: msgspec.Raw = _NIL


class _ClearedArray(
    msgspec.Struct, array_like=True, tag="AllBlocksCleared", forbid_unknown_fields=True, gc=False
):
    pass


class _ClearedMap(msgspec.Struct, tag="AllBlocksCleared", forbid_unknown_fields=True, gc=False):
    pass


class _Envelope(msgspec.Struct, Generic[_Event], array_like=True, forbid_unknown_fields=True):
    ts: Seconds
    events: list[_Event]
    data_parallel_rank: int | None = None


# --- shapes -> records


def _hashes(sent: tuple[Any, ...]) -> tuple[BlockHash, ...]:
    """The canonical hashes; the ints of vLLM since 0.10.2 are canonical as they come."""
    if sent and type(sent[0]) is int:
        try:
            if min(sent) >= 0:
                return sent
        except TypeError:  # bytes further on
            pass
    return tuple([canonical_hash(value) for value in sent])


def _stored(event: _StoredArray | _StoredMap) -> BlockStored:
    parent = event.parent_block_hash
    return BlockStored(
        _hashes(event.block_hashes),
        None if parent is None else canonical_hash(parent),
        event.token_ids,
        event.block_size,
        event.lora_name,
        event.medium,
        event.group_idx or 0,
        event.lora_id,
    )


def _removed(event: _RemovedArray | _RemovedMap) -> BlockRemoved:
    return BlockRemoved(_hashes(event.block_hashes), event.medium, event.group_idx or 0)


def _cleared(_event: _ClearedArray | _ClearedMap) -> AllBlocksCleared:
    return AllBlocksCleared()


_RECORD_OF: Final[Mapping[type, Callable[[Any], KVEvent]]] = {
    _StoredArray: _stored,
    _StoredMap: _stored,
    _RemovedArray: _removed,
    _RemovedMap: _removed,
    _ClearedArray: _cleared,
    _ClearedMap: _cleared,
}

_Decoder: TypeAlias = msgspec.msgpack.Decoder[_Envelope[Any]]
_MAPS: Final[_Decoder] = msgspec.msgpack.Decoder(_Envelope[_StoredMap | _RemovedMap | _ClearedMap])
_ARRAYS: Final[_Decoder] = msgspec.msgpack.Decoder(_Envelope[_StoredArray | _RemovedArray | _ClearedArray])


def decode_batch(payload: bytes) -> Batch:
    """The batch in `payload`, in whichever published form it is.

    Events that cannot be read are named in `unknown_events`, fields that nobody publishes in
    `unknown_fields`; all else is kept in its order. Raises WireError, with the byte offset or the field,
    when there is no batch around the events.
    """
    for decoder in (_MAPS, _ARRAYS):
        try:
            batch = decoder.decode(payload)
        except UNREADABLE:
            continue
        events = tuple([_RECORD_OF[type(event)](event) for event in batch.events])
        return Batch(batch.ts, events, batch.data_parallel_rank)
    return salvage(payload)
