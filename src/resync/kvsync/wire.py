"""Published encodings of KV events <-> typed records, and the ZeroMQ frames around them.

vLLM changed the encoding twice without a version field: events were msgpack arrays with the class name
first up to 0.23, are maps with the name under "type" from 0.24, and one commit sent the batch itself as a
map (AIBrix #2587). Fields were only ever appended. So: decode the whole batch with one typed decoder per
form, which is fast and strict; only when all of them refuse, walk the batch event by event, keep what can
be read and name what cannot. One bad event must never cost its neighbours (it does in llm-d-kv-cache and
AIBrix), and a bad batch must never cost the connection.

Frames: live `[topic, seq, payload]`. Replay asks `[b"", start]` and is answered, as a DEALER sees it, by
`[b"", seq, payload]` up to vLLM 0.25 and `[b"", topic, seq, payload]` from 0.26 (vLLM PR 45177), then the
end marker, whose sequence is all ones.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from resync.kvsync.errors import WireError
from resync.kvsync.records import (
    GPU,
    AllBlocksCleared,
    Batch,
    BlockHash,
    BlockRemoved,
    BlockStored,
    KVEvent,
    Message,
    ReplayEnd,
    canonical_hash,
)

SEQ_BYTES: Final = 8
END_SEQ: Final = b"\xff" * SEQ_BYTES
LIVE_FRAMES: Final = 3
REPLAY_FRAMES: Final = (3, 4)
BYTES_HASH_LENGTH: Final = 32


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


# --- the wire's own shapes, one per form; trailing and unknown fields are skipped by msgspec ------


class _StoredArray(msgspec.Struct, array_like=True, tag="BlockStored", gc=False):
    block_hashes: list[int | bytes]
    parent_block_hash: int | bytes | None
    token_ids: tuple[int, ...]
    block_size: int
    lora_id: int | None = None
    medium: str | None = GPU
    lora_name: str | None = None
    extra_keys: msgspec.Raw = msgspec.Raw(b"\xc0")
    group_idx: int | None = None


class _RemovedArray(msgspec.Struct, array_like=True, tag="BlockRemoved", gc=False):
    block_hashes: list[int | bytes]
    medium: str | None = GPU
    group_idx: int | None = None


class _ClearedArray(msgspec.Struct, array_like=True, tag="AllBlocksCleared", gc=False):
    pass


class _StoredMap(msgspec.Struct, tag="BlockStored", gc=False):
    block_hashes: list[int | bytes]
    parent_block_hash: int | bytes | None
    token_ids: tuple[int, ...]
    block_size: int
    lora_id: int | None = None
    medium: str | None = GPU
    lora_name: str | None = None
    group_idx: int | None = None


class _RemovedMap(msgspec.Struct, tag="BlockRemoved", gc=False):
    block_hashes: list[int | bytes]
    medium: str | None = GPU
    group_idx: int | None = None


class _ClearedMap(msgspec.Struct, tag="AllBlocksCleared", gc=False):
    pass


_ArrayEvent = _StoredArray | _RemovedArray | _ClearedArray
_MapEvent = _StoredMap | _RemovedMap | _ClearedMap
_WireEvent = _ArrayEvent | _MapEvent


class _ArrayEvents(msgspec.Struct, array_like=True):
    ts: float
    events: list[_ArrayEvent]
    data_parallel_rank: int | None = None


class _MapEvents(msgspec.Struct, array_like=True):
    ts: float
    events: list[_MapEvent]
    data_parallel_rank: int | None = None


class _MapBatch(msgspec.Struct):
    ts: float
    events: list[_MapEvent]
    data_parallel_rank: int | None = None


class _RawEvents(msgspec.Struct, array_like=True):
    ts: float
    events: list[msgspec.Raw]
    data_parallel_rank: int | None = None


class _RawBatch(msgspec.Struct):
    ts: float
    events: list[msgspec.Raw]
    data_parallel_rank: int | None = None


_WHOLE: tuple[msgspec.msgpack.Decoder[_MapEvents | _ArrayEvents | _MapBatch], ...] = (
    msgspec.msgpack.Decoder(_MapEvents),
    msgspec.msgpack.Decoder(_ArrayEvents),
    msgspec.msgpack.Decoder(_MapBatch),
)
_OUTER_ARRAY = msgspec.msgpack.Decoder(_RawEvents)
_OUTER_MAP = msgspec.msgpack.Decoder(_RawBatch)
_ONE_ARRAY = msgspec.msgpack.Decoder(_ArrayEvent)
_ONE_MAP = msgspec.msgpack.Decoder(_MapEvent)
_ANYTHING = msgspec.msgpack.Decoder()
_KNOWN = frozenset({"BlockStored", "BlockRemoved", "AllBlocksCleared"})
_MAP_FIRST_BYTES = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})


def _hashes(raw: Sequence[int | bytes]) -> tuple[BlockHash, ...]:
    return tuple([canonical_hash(value) for value in raw])


def _stored(event: _StoredArray | _StoredMap) -> BlockStored:
    if event.block_size <= 0:
        raise msgspec.ValidationError(f"`block_size` is {event.block_size} - at `$.block_size`")
    parent = event.parent_block_hash
    return BlockStored(
        _hashes(event.block_hashes),
        None if parent is None else canonical_hash(parent),
        event.token_ids,
        event.block_size,
        event.lora_name,
        event.medium,
        event.group_idx or 0,
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


def decode_batch(payload: bytes) -> Batch:
    """The batch in `payload`, in whichever published form it is.

    Events that cannot be read are named in `unknown_events`, the others are kept in their order. Raises
    WireError, with the byte offset or the field, when there is no batch around the events.
    """
    for decoder in _WHOLE:
        try:
            batch = decoder.decode(payload)
            events = tuple([_RECORD_OF[type(event)](event) for event in batch.events])
        except msgspec.ValidationError:
            continue
        except msgspec.DecodeError as error:
            raise WireError(f"not a batch of KV events: {error}") from error
        return Batch(batch.ts, events, batch.data_parallel_rank)
    return _decode_one_by_one(payload)


def _decode_one_by_one(payload: bytes) -> Batch:
    outer = _OUTER_MAP if payload[0] in _MAP_FIRST_BYTES else _OUTER_ARRAY
    try:
        batch = outer.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"not a batch of KV events: {error}") from error
    events: list[KVEvent] = []
    skipped: list[str] = []
    malformed = 0
    for raw in batch.events:
        try:
            events.append(_decode_event(raw))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            name = _type_name(raw)
            known = name in _KNOWN
            malformed += known
            skipped.append(f"{name}: {error}" if known else name)
    return Batch(batch.ts, tuple(events), batch.data_parallel_rank, tuple(skipped), malformed)


def _decode_event(raw: msgspec.Raw) -> KVEvent:
    one = _ONE_MAP if memoryview(raw)[0] in _MAP_FIRST_BYTES else _ONE_ARRAY
    event = one.decode(raw)
    return _RECORD_OF[type(event)](event)


def _type_name(raw: msgspec.Raw) -> str:
    try:
        event = _ANYTHING.decode(raw)
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        TypeError,
    ):  # TypeError: a map keyed by something unhashable
        return "unreadable"
    if isinstance(event, dict):
        return str(event.get("type", "untyped"))
    return str(event[0]) if isinstance(event, list) and event else "untyped"


# --- encoding -------------------------------------------------------------------------------------


def _hash_as(form: HashForm) -> Callable[[BlockHash], int | bytes]:
    if form is HashForm.INT:
        return lambda value: value
    return lambda value: value.to_bytes(BYTES_HASH_LENGTH, "big")


def _stored_fields(event: BlockStored, as_hash: Callable[[BlockHash], int | bytes]) -> dict[str, object]:
    parent = event.parent_block_hash
    return {
        "block_hashes": [as_hash(value) for value in event.block_hashes],
        "parent_block_hash": None if parent is None else as_hash(parent),
        "token_ids": event.token_ids,
        "block_size": event.block_size,
        "lora_id": None,
        "medium": event.medium,
        "lora_name": event.lora_name,
        "extra_keys": None,
        "group_idx": event.group_idx,
    }


def _event_fields(event: KVEvent, as_hash: Callable[[BlockHash], int | bytes]) -> dict[str, object]:
    match event:
        case BlockStored():
            return _stored_fields(event, as_hash)
        case BlockRemoved():
            hashes = [as_hash(value) for value in event.block_hashes]
            return {"block_hashes": hashes, "medium": event.medium, "group_idx": event.group_idx}
        case AllBlocksCleared():
            return {}


def encode_batch(batch: Batch, form: WireForm, hash_form: HashForm = HashForm.INT) -> bytes:
    """The msgpack payload of `batch` as a publisher of that form sends it.

    `ARRAY` is vLLM 0.20-0.23, `MAP` vLLM 0.24 and later, `MAP_BATCH` the commit behind AIBrix #2587.
    """
    as_hash = _hash_as(hash_form)
    named = [(type(event).__name__, _event_fields(event, as_hash)) for event in batch.events]
    if form is WireForm.ARRAY:
        arrays = [[name, *fields.values()] for name, fields in named]
        return msgspec.msgpack.encode([batch.ts, arrays, batch.dp_rank])
    maps = [{"type": name, **fields} for name, fields in named]
    if form is WireForm.MAP:
        return msgspec.msgpack.encode([batch.ts, maps, batch.dp_rank])
    return msgspec.msgpack.encode({"ts": batch.ts, "events": maps, "data_parallel_rank": batch.dp_rank})


# --- frames ---------------------------------------------------------------------------------------


def _seq_frame(seq: int) -> bytes:
    return seq.to_bytes(SEQ_BYTES, "big")


def _read_seq(frame: bytes, what: str) -> int:
    if len(frame) != SEQ_BYTES:
        raise WireError(f"the sequence frame of a {what} has {len(frame)} bytes, not {SEQ_BYTES}")
    return int.from_bytes(frame, "big")


def live_frames(message: Message) -> list[bytes]:
    """The three frames of a live batch."""
    return [message.topic, _seq_frame(message.seq), message.payload]


def parse_live(frames: Sequence[bytes]) -> Message:
    """The message in the frames that a SUB socket received. Raises WireError."""
    if len(frames) != LIVE_FRAMES:
        raise WireError(f"a live message has {len(frames)} frames, not {LIVE_FRAMES}")
    return Message(frames[0], _read_seq(frames[1], "live message"), frames[2])


def replay_request(start_seq: int) -> list[bytes]:
    """What a DEALER sends to ask for everything from `start_seq` on: the empty delimiter, then the number."""
    return [b"", _seq_frame(start_seq)]


def parse_replay_request(frames: Sequence[bytes]) -> tuple[bytes, int]:
    """The asking peer's identity and its start, from the frames that a ROUTER received.

    As lenient as vLLM: any delimiter, any length of number, an empty one means 0. Raises WireError where
    vLLM stays silent: not exactly `[identity, delimiter, start]`.
    """
    if len(frames) != LIVE_FRAMES:
        raise WireError(f"a replay request has {len(frames)} frames, not identity, delimiter and start")
    return frames[0], int.from_bytes(frames[2], "big")


def replay_frames(message: Message, *, topic_frame: bool = True) -> list[bytes]:
    """One replayed batch as a DEALER sees it; `topic_frame` from vLLM 0.26 on."""
    topic = [message.topic] if topic_frame else []
    return [b"", *topic, _seq_frame(message.seq), message.payload]


def end_frames(*, topic_frame: bool = True) -> list[bytes]:
    """The end marker as a DEALER sees it."""
    return [b"", *([b""] if topic_frame else []), END_SEQ, b""]


def parse_replay(frames: Sequence[bytes]) -> Message | ReplayEnd:
    """The replayed message, or the end marker, in the frames that a DEALER received. Raises WireError."""
    if len(frames) not in REPLAY_FRAMES or frames[0]:
        raise WireError(f"a replay answer is an empty delimiter and 2 or 3 frames, not {len(frames)} frames")
    *topic, seq, payload = frames[1:]
    if seq == END_SEQ:
        return ReplayEnd()
    return Message(topic[0] if topic else b"", _read_seq(seq, "replayed message"), payload)
