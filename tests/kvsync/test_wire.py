"""Encodings: every form round-trips, what cannot be read is named and costs nothing else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.kvsync import wire
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


@given(BATCH, st.sampled_from(WireForm), st.sampled_from(HashForm))
def test_every_form_brings_the_batch_back(batch: Batch, form: WireForm, hash_form: HashForm) -> None:
    assert wire.decode_batch(wire.encode_batch(batch, form, hash_form)) == batch


@pytest.mark.parametrize("extra", [[], [3], [3, b"\x01" * 16], [3, b"", {"more": [1]}]])
def test_a_batch_has_two_three_or_more_elements(extra: list[object]) -> None:
    batch = wire.decode_batch(packed([1.5, [GOOD], *extra]))

    assert batch.events == (BlockRemoved((7,)),)
    assert batch.dp_rank == (3 if extra else None)


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
        ({"block_hashes": [1]}, "untyped", 0),
        (17, "untyped", 0),
        ({"type": "BlockRemoved", "block_hashes": [2**63], "medium": 5}, "BlockRemoved: ", 1),
    ],
)  # fmt: skip
def test_one_bad_event_costs_no_other(bad: object, named: str, malformed: int) -> None:
    batch = wire.decode_batch(packed([1.0, [GOOD, bad, ["AllBlocksCleared"], GOOD], 0]))

    assert batch.events == (BlockRemoved((7,)), AllBlocksCleared(), BlockRemoved((7,)))
    assert len(batch.unknown_events) == 1
    assert batch.unknown_events[0].startswith(named)
    assert batch.malformed == malformed


def test_a_malformed_field_is_named() -> None:
    batch = wire.decode_batch(packed([1.0, [{**GOOD, "block_hashes": [1, "x"]}], 0]))

    assert "block_hashes" in batch.unknown_events[0]


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
