"""Encodings: every form round-trips, what cannot be read is named and costs nothing else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.kvsync import salvaging, wire
from resync.kvsync.errors import WireError
from resync.kvsync.records import (
    AllBlocksCleared,
    Batch,
    BlockRemoved,
    BlockStored,
    KVEvent,
    Message,
    ReplayEnd,
    canonical_hash,
)
from resync.kvsync.wire import HashForm, WireForm

pytestmark = pytest.mark.unit

HASH = st.integers(0, 2**64 - 1)
MEDIUM = st.sampled_from(["GPU", "CPU", None])
STORED = st.builds(
    BlockStored,
    st.lists(HASH, max_size=4).map(tuple),
    st.none() | HASH,
    st.lists(st.integers(0, 2**31), max_size=8).map(tuple),
    st.integers(1, 64),
    lora_name=st.none() | st.text(max_size=5),
    medium=MEDIUM,
    group_idx=st.integers(0, 3),
)
REMOVED = st.builds(
    BlockRemoved, st.lists(HASH, max_size=4).map(tuple), medium=MEDIUM, group_idx=st.integers(0, 3)
)
EVENT: st.SearchStrategy[KVEvent] = STORED | REMOVED | st.just(AllBlocksCleared())
BATCH = st.builds(
    Batch, st.floats(0, 2e9), st.lists(EVENT, max_size=5).map(tuple), st.none() | st.integers(0, 7)
)

GOOD = {"type": "BlockRemoved", "block_hashes": [7], "medium": "GPU"}


def packed(batch: object) -> bytes:
    return msgspec.msgpack.encode(batch)


DIALECT = st.sampled_from([*wire.DIALECTS.values()])
# What a reader has to assume of what a dialect cannot say: vLLM's defaults.
UNSAID = {"medium": "GPU", "lora_name": None, "lora_id": None, "group_idx": 0}


@given(BATCH, st.sampled_from(WireForm), st.sampled_from(HashForm))
@pytest.mark.scenario("event-flow/wire-array", "event-flow/wire-map", "event-flow/wire-map-batch")
def test_every_form_brings_the_batch_back(batch: Batch, form: WireForm, hash_form: HashForm) -> None:
    assert wire.decode_batch(wire.encode_batch(batch, form, hash_form)) == batch


@given(BATCH, st.sampled_from([*WireForm]) | DIALECT, st.sampled_from(HashForm))
def test_piece_by_piece_reads_what_the_fast_way_reads(
    batch: Batch, form: WireForm | wire.Dialect, hash_form: HashForm
) -> None:
    payload = wire.encode_batch(batch, form, hash_form)

    assert salvaging.salvage(payload) == wire.decode_batch(payload)


def as_said_in(dialect: wire.Dialect, event: KVEvent) -> KVEvent:
    if isinstance(event, AllBlocksCleared):
        return event
    said = dialect.stored if isinstance(event, BlockStored) else dialect.removed
    lost = {name: value for name, value in UNSAID.items() if name not in said and hasattr(event, name)}
    return msgspec.structs.replace(event, **lost)


@given(BATCH, DIALECT, st.sampled_from(HashForm))
def test_every_version_brings_back_what_it_can_say(
    batch: Batch, dialect: wire.Dialect, hash_form: HashForm
) -> None:
    decoded = wire.decode_batch(wire.encode_batch(batch, dialect, hash_form))

    assert decoded == msgspec.structs.replace(
        batch,
        events=tuple(as_said_in(dialect, event) for event in batch.events),
        dp_rank=batch.dp_rank if dialect.ranked else None,
    )


@given(BATCH, DIALECT)
def test_ints_and_bytes_of_one_block_are_one_block(batch: Batch, dialect: wire.Dialect) -> None:
    """Also the two's complement of the int, which vLLM sent up to 0.10.1."""
    as_ints = wire.encode_batch(batch, dialect, HashForm.INT)
    as_bytes = wire.encode_batch(batch, dialect, HashForm.BYTES)
    signed = packed(
        _signed(msgspec.msgpack.decode(as_ints), {value for event in batch.events for value in hashes(event)})
    )

    assert wire.decode_batch(as_ints) == wire.decode_batch(as_bytes)
    assert wire.decode_batch(signed).events == wire.decode_batch(as_ints).events


def hashes(event: KVEvent) -> set[int]:
    if isinstance(event, AllBlocksCleared):
        return set()
    parent = event.parent_block_hash if isinstance(event, BlockStored) else None
    return {*event.block_hashes, *(() if parent is None else (parent,))}


def _signed(value: object, hashes: set[int]) -> object:
    """Every hash of `hashes` above 63 bits as the negative number with the same low 64 bits."""
    match value:
        case int() if value in hashes and value >= 2**63:
            return value - 2**64
        case list():
            return [_signed(one, hashes) for one in value]
        case dict():
            return {name: _signed(one, hashes) for name, one in value.items()}
    return value


def test_a_map_leaves_out_what_vllm_leaves_out_and_an_array_nothing() -> None:
    """`omit_defaults` drops optional Nones from maps, never from arrays (measured on vLLM's own classes)."""
    batch = Batch(1.0, (BlockStored((1,), None, (5, 6), 2), BlockRemoved((1,), medium=None)))

    stored, removed = msgspec.msgpack.decode(wire.encode_batch(batch, WireForm.MAP))[1]
    assert [*stored] == [
        "type", "block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium",
        "lora_name", "group_idx",
    ]  # fmt: skip
    assert [*removed] == ["type", "block_hashes", "medium", "group_idx"]
    stored, removed = msgspec.msgpack.decode(wire.encode_batch(batch, wire.DIALECTS["0.22.1"]))[1]
    assert stored == ["BlockStored", [1], None, [5, 6], 2, None, "GPU", None, None, 0, None, None]
    assert removed == ["BlockRemoved", [1], None, 0]


def test_the_first_version_has_no_rank() -> None:
    assert msgspec.msgpack.decode(wire.encode_batch(Batch(1.5, ()), wire.DIALECTS["0.9.0"])) == [1.5, []]


@pytest.mark.parametrize("extra", [[], [3], [3, b"\x01" * 16], [3, b"", {"more": [1]}]])
def test_a_batch_has_two_three_or_more_elements(extra: list[object]) -> None:
    batch = wire.decode_batch(packed([1.5, [GOOD], *extra]))

    assert batch.events == (BlockRemoved((7,)),)
    assert batch.dp_rank == (3 if extra else None)
    assert batch.unknown_fields == tuple(f"batch.[{position}]" for position in range(3, 2 + len(extra)))


@pytest.mark.parametrize(
    ("event", "unknown"),
    [
        ({**GOOD, "tier": 2}, "BlockRemoved.tier"),
        ({**GOOD, "session_id": "s"}, "BlockRemoved.session_id"),
        (["BlockRemoved", [7], "GPU", 0, {"a": [1]}], "BlockRemoved.[3]"),
        (["AllBlocksCleared", 1], "AllBlocksCleared.[0]"),
        ({"type": "AllBlocksCleared", "why": None}, "AllBlocksCleared.why"),
    ],
)
def test_a_field_of_a_newer_version_is_read_past_and_counted(event: object, unknown: str) -> None:
    batch = wire.decode_batch(packed([1.0, [GOOD, event], 0]))

    assert batch.events[0] == BlockRemoved((7,))
    assert batch.events[1] in {BlockRemoved((7,)), AllBlocksCleared()}
    assert (batch.unknown_fields, batch.unknown_events, batch.malformed) == ((unknown,), (), 0)


def test_every_published_field_is_known() -> None:
    """All that vLLM 0.32 and SGLang 0.5.23 send: nothing of it may count as unknown."""
    stored = {
        "type": "BlockStored", "block_hashes": [1], "parent_block_hash": None, "token_ids": [5, 6],
        "block_size": 2, "lora_id": 7, "medium": "GPU", "lora_name": "a", "extra_keys": [["salt"]],
        "group_idx": 1, "kv_cache_spec_kind": "sliding_window", "kv_cache_spec_sliding_window": 128,
        "locality": "LOCAL", "ownership": "tier-1", "session_id": "s", "cache_salt": "x",
    }  # fmt: skip
    removed = {**GOOD, "group_idx": 1, "locality": "LOCAL", "ownership": "tier-1"}
    expected = (BlockStored((1,), None, (5, 6), 2, "a", "GPU", 1, 7), BlockRemoved((7,), "GPU", 1))

    assert wire.decode_batch(packed([1.0, [stored, removed], 0])) == Batch(1.0, expected)
    assert wire.decode_batch(packed([1.0, [stored, removed, 17], 0])).unknown_fields == ()


@pytest.mark.parametrize("form", WireForm)
def test_an_event_of_a_type_to_come_is_written_by_its_name_and_skipped(form: WireForm) -> None:
    sent = Batch(1.0, (AllBlocksCleared(),), 0, unknown_events=("BlockTouched",))
    assert wire.decode_batch(wire.encode_batch(sent, form)) == sent


@pytest.mark.parametrize("event", [GOOD, ["BlockRemoved", [7], "GPU"]])
def test_a_map_around_the_batch_is_read_with_either_kind_of_event(event: object) -> None:
    outer = {"events": [event], "more": 1, "data_parallel_rank": 2, "ts": 1.0}

    batch = wire.decode_batch(packed(outer))

    assert batch == Batch(1.0, (BlockRemoved((7,)),), 2, unknown_fields=("batch.more",))


@pytest.mark.parametrize("others", [[], [["BlockRemoved", [7]]]])
def test_both_kinds_of_hashes_and_events_in_one_batch_are_read(others: list[object]) -> None:
    mixed = {"type": "BlockRemoved", "block_hashes": [7, b"\0" * 31 + b"\7", -1]}

    assert wire.decode_batch(packed([1.0, [mixed, *others], 0])).events == (
        BlockRemoved((7, 7, 2**64 - 1)),
        *(BlockRemoved((7,)) for _ in others),
    )


def test_bytes_and_negative_hashes_denote_the_block_that_the_int_denotes() -> None:
    low = 0xF1E2_D3C4_B5A6_9788
    assert canonical_hash(b"\xaa" * 24 + low.to_bytes(8, "big")) == low
    assert canonical_hash(low - 2**64) == low
    assert canonical_hash(low) == low


@pytest.mark.parametrize(
    ("bad", "named", "malformed"),
    [
        ({"type": "HeartBeat", "n": 1}, "HeartBeat", 0),
        (["HeartBeat", 1], "HeartBeat", 0),
        ({"type": "BlockRemoved", "block_hashes": ["x"]}, "BlockRemoved: ", 1),
        ({"type": "BlockStored", "block_hashes": [1]}, "BlockStored: ", 1),
        (["BlockStored", [1], None, [1.5], 4], "BlockStored: ", 1),
        (["BlockStored", [1], None, [1], 0], "BlockStored: ", 1),
        ({"block_hashes": [1]}, "untyped: ", 1),  # no version publishes it: it may have been a store
        (17, "untyped: ", 1),
        ([], "untyped: ", 1),
        ([17, [1]], "untyped: ", 1),
        ({1: 2}, "untyped: ", 1),
        ({"type": "BlockRemoved", "block_hashes": [b"7 bytes"]}, "BlockRemoved: ", 1),
        ({"type": "BlockRemoved", "block_hashes": [2**63], "medium": 5}, "BlockRemoved: ", 1),
    ],
)  # fmt: skip
@pytest.mark.scenario("errors/unknown-event", "errors/malformed-event")
def test_one_bad_event_costs_no_other(bad: object, named: str, malformed: int) -> None:
    batch = wire.decode_batch(packed([1.0, [GOOD, bad, ["AllBlocksCleared"], GOOD], 0]))

    assert batch.events == (BlockRemoved((7,)), AllBlocksCleared(), BlockRemoved((7,)))
    assert len(batch.unknown_events) == 1
    assert batch.unknown_events[0].startswith(named)
    assert batch.malformed == malformed


def test_a_malformed_field_is_named() -> None:
    batch = wire.decode_batch(packed([1.0, [{**GOOD, "block_hashes": [1, "x"]}], 0]))

    assert batch.unknown_events == (
        "BlockRemoved: `block_hashes`: Expected `int | bytes`, got `str` - at `$[1]`",
    )


def test_text_that_is_no_text_costs_its_event_only() -> None:
    payload = packed([1.0, [GOOD, GOOD], 0]).replace(b"GPU", b"G\xff\xff", 1)

    batch = wire.decode_batch(payload)

    assert batch.events == (BlockRemoved((7,)),)
    assert batch.malformed == 1
    assert "`medium`" in batch.unknown_events[0]


@pytest.mark.parametrize("nest", [b"\x91", b"\x81\xa1a"])
def test_nesting_without_end_is_refused(nest: bytes) -> None:
    header = b"\x93\xcb" + b"\0" * 8
    with pytest.raises(WireError, match="recursion"):
        wire.decode_batch(header + b"\x91" + nest * 100_000 + b"\xc0\x00")


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        (packed([1.0, [GOOD], 0])[:-3], rf"truncated \(byte {len(packed([1.0, [GOOD], 0])) - 3}\)"),
        (packed([1.0, [GOOD], 0]) + b"\0", rf"trailing characters \(byte {len(packed([1.0, [GOOD], 0]))}\)"),
        (packed([1.0, ["?"], 0]).replace(b"\xa1?", b"\xc1?"), r"invalid opcode .*\(byte 11\)"),
        (packed(["x", []]), "`ts`: Expected `float`, got `str`"),
        (packed([float("nan"), []]), "`ts`: Expected `float` >= 0"),
        (packed([float("inf"), []]), "`ts`: Expected `float` < "),
        (packed([1.0, 5]), "`events`: Expected `array`, got `int`"),
        (packed([1.0, [], "r"]), "`data_parallel_rank`: Expected `int"),
        (packed({"ts": 1.0}), "the field `events` is missing"),
    ],
)
def test_a_refusal_names_the_byte_or_the_field(payload: bytes, where: str) -> None:
    with pytest.raises(WireError, match=where):
        wire.decode_batch(payload)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", packed(None), packed(7),
     packed([]), packed([1.0]), packed(["x", []]), packed({"ts": 1.0}), packed([1.0, 5]),
     packed([1.0, [GOOD], 0])[:-3],
     packed([1.0, [GOOD], 0]) + b"\x00", b"\xdd\xff\xff\xff\xff"],
)  # fmt: skip
def test_what_is_no_batch_is_refused_with_a_reason(payload: bytes) -> None:
    with pytest.raises(WireError, match=r"not a batch of KV events: .+"):
        wire.decode_batch(payload)


@given(st.binary(max_size=200))
def test_no_payload_crashes_the_decoder(payload: bytes) -> None:
    try:
        wire.decode_batch(payload)
    except WireError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right, any other exception is not


@given(st.binary(max_size=9), st.integers(0, 2**64 - 2), st.binary(max_size=9))
def test_frames_bring_the_message_back(topic: bytes, seq: int, payload: bytes) -> None:
    message = Message(topic, seq, payload)

    assert wire.parse_live(wire.live_frames(message)) == message
    assert wire.parse_replay(wire.replay_frames(message)) == message
    assert wire.parse_replay(wire.replay_frames(message, topic_frame=False)) == Message(b"", seq, payload)
    assert wire.parse_replay_request([b"id", *wire.replay_request(seq)]) == (b"id", seq)


def test_the_end_marker_is_recognised_in_both_versions() -> None:
    assert wire.parse_replay(wire.end_frames(topic_frame=True)) == ReplayEnd()
    assert wire.parse_replay(wire.end_frames(topic_frame=False)) == ReplayEnd()


@pytest.mark.parametrize("frames", [[], [b""], [b"", b"\0" * 8], [b"", b"\0" * 7, b""], [b""] * 4])
def test_wrong_live_frames_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        wire.parse_live(frames)


@pytest.mark.parametrize(
    "frames", [[], [b"", b"\0" * 8], [b"x", b"\0" * 8, b""], [b"", b"", b"\0", b""], [b""] * 5]
)
def test_wrong_replay_frames_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        wire.parse_replay(frames)


def test_a_replay_request_is_read_as_leniently_as_the_engine_does() -> None:
    assert wire.parse_replay_request([b"id", b"not empty", b""]) == (b"id", 0)
    assert wire.parse_replay_request([b"id", b"", b"\0\0\0\5"]) == (b"id", 5)
    with pytest.raises(WireError):
        wire.parse_replay_request([b"id", b"\0" * 8])
