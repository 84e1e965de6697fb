"""Seventeen releases' own publishers, one list of events: the table of dialects is theirs, word for word."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from resync.kvsync import rereading, wire
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import AllBlocksCleared, Batch, BlockRemoved, BlockStored, Message, ReplayEnd
from resync.kvsync.wire import DIALECTS, Dialect, HashForm, WireForm

pytestmark = pytest.mark.unit

Line = dict[str, Any]
Recorded = Callable[[str], tuple[Line, ...]]

FILE = "vllm-publisher-by-version.jsonl"
VERSIONS = [
    "0.9.0.1", "0.9.1", "0.9.2", "0.10.0", "0.10.2", "0.14.1", "0.17.1", "0.20.2", "0.22.1", "0.23.0",
    "0.24.0", "0.25.1", "0.26.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0",
]  # fmt: skip
RING = 4
# What no record keeps: sent as nil by us, so taken out of both sides before they are compared.
UNKEPT = {
    "extra_keys", "kv_cache_spec_kind", "kv_cache_spec_sliding_window", "locality", "ownership", "session_id",
}  # fmt: skip


def dialect_of(version: str) -> Dialect:
    """The newest that is not newer than the version."""

    def numbers(said: str) -> list[int]:
        return [int(part) for part in said.split(".")]

    return [one for since, one in DIALECTS.items() if numbers(since) <= numbers(version)][-1]


def of_version(lines: tuple[Line, ...], version: str, kind: str) -> list[Line]:
    return [line for line in lines if line["version"] == version and line["kind"] == kind]


@pytest.fixture
def lines(recorded: Recorded) -> tuple[Line, ...]:
    return recorded(FILE)


def essence(batch: Batch) -> list[object]:
    """What all versions say, whichever fields they know."""
    return [
        (event.block_hashes, event.parent_block_hash, event.token_ids, event.block_size)
        if isinstance(event, BlockStored)
        else event.block_hashes
        if isinstance(event, BlockRemoved)
        else "cleared"
        for event in batch.events
    ]


def test_all_versions_are_here_and_every_dialect_is_spoken(lines: tuple[Line, ...]) -> None:
    assert sorted({line["version"] for line in lines}) == sorted(VERSIONS)
    assert [*dict.fromkeys(dialect_of(version).since for version in VERSIONS)] == [*DIALECTS]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_has_the_fields_that_the_release_has(version: str, lines: tuple[Line, ...]) -> None:
    (release,) = of_version(lines, version, "fields")
    dialect = dialect_of(version)

    assert [*dialect.stored] == release["BlockStored"]
    assert [*dialect.removed] == release["BlockRemoved"]
    assert dialect.ranked == ("data_parallel_rank" in release["EventBatch"])
    assert (dialect.form is WireForm.ARRAY) == release["event_array_like"]
    assert release["batch_array_like"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_payload_says_what_the_newest_says(version: str, lines: tuple[Line, ...]) -> None:
    newest = {
        line["label"]: wire.decode_batch(wire.parse_live(line["frames"]).payload)
        for line in of_version(lines, VERSIONS[-1], "pub")
    }
    sent = of_version(lines, version, "pub")
    assert [line["label"] for line in sent] == [*newest]
    assert len(sent) == 8
    for line in sent:
        payload = wire.parse_live(line["frames"]).payload
        batch = wire.decode_batch(payload)
        assert (batch.unknown_events, batch.unknown_fields, batch.malformed) == ((), (), 0), line["label"]
        assert essence(batch) == essence(newest[line["label"]]), line["label"]
        assert batch == rereading.read(payload), line["label"]


def said(payload: bytes, dialect: Dialect) -> list[Any]:
    """The unpacked batch without what no record keeps; group nil is group 0, a bytes hash its low bytes."""
    ts, events, *rank = msgspec.msgpack.decode(payload)
    return [ts, [_event_said(event, dialect) for event in events], *rank]


def _event_said(event: Any, dialect: Dialect) -> dict[str, Any]:
    if isinstance(event, list):
        names = {"BlockStored": dialect.stored, "BlockRemoved": dialect.removed}.get(event[0], ())
        event = {"type": event[0], **dict(zip(names, event[1:], strict=True))}
    kept = {name: _low(value) for name, value in event.items() if name not in UNKEPT}
    if "group_idx" in (*dialect.stored, *dialect.removed) and event["type"] != "AllBlocksCleared":
        kept["group_idx"] = kept.get("group_idx") or 0
    return kept


def _low(value: Any) -> Any:
    if isinstance(value, list):
        return [_low(one) for one in value]
    return value[-8:] if isinstance(value, bytes) else value


@pytest.mark.parametrize("version", VERSIONS)
def test_our_encoder_speaks_as_the_release_does(version: str, lines: tuple[Line, ...]) -> None:
    dialect = dialect_of(version)
    for line in of_version(lines, version, "pub"):
        payload = wire.parse_live(line["frames"]).payload
        form = HashForm.BYTES if "bytes" in line["label"] else HashForm.INT

        ours = wire.encode_batch(wire.decode_batch(payload), dialect, form)

        assert said(ours, dialect) == said(payload, dialect), line["label"]


@pytest.mark.parametrize("version", VERSIONS)
def test_replay_answers_are_read_and_spoken_frame_by_frame(
    version: str, lines: tuple[Line, ...], report: Callable[[str], None]
) -> None:
    """As far as the ring of 4 goes: asked for more, it starts later; ahead of the stream, it says END."""
    dialect = dialect_of(version)
    live = [wire.parse_live(line["frames"]) for line in of_version(lines, version, "pub")]
    asked = {line["label"]: line["frames"] for line in of_version(lines, version, "replay_req")}
    count = 0
    for label, request in asked.items():
        answers = [
            line["frames"] for line in of_version(lines, version, "replay_rep") if line["label"] == label
        ]
        _identity, start = wire.parse_replay_request([b"dealer", *request])
        expected = [message for message in live[-RING:] if message.seq >= start]
        *messages, end = map(wire.parse_replay, answers)
        assert isinstance(end, ReplayEnd)
        assert [(one.seq, one.payload) for one in messages if isinstance(one, Message)] == [
            (one.seq, one.payload) for one in expected
        ]
        assert request == wire.replay_request(start)
        assert answers == [
            *(wire.replay_frames(one, topic_frame=dialect.topic_frame) for one in expected),
            wire.end_frames(topic_frame=dialect.topic_frame),
        ]
        count += len(answers)
    report(f"vLLM {version}: {len(live)} batches, {count} replay answers to {len(asked)} requests")
    assert (len(live), len(asked)) == (8, 3)


@pytest.mark.parametrize("version", VERSIONS)
def test_our_publisher_answers_as_the_release_did(version: str, lines: tuple[Line, ...]) -> None:
    live = [wire.parse_live(line["frames"]) for line in of_version(lines, version, "pub")]
    publisher = Publisher(buffer_steps=RING, topic=live[0].topic, form=dialect_of(version))
    sent = [publisher.publish(wire.decode_batch(message.payload)) for message in live]

    assert [(one.topic, one.seq) for one in sent] == [(one.topic, one.seq) for one in live]
    for line in of_version(lines, version, "replay_req"):
        _identity, start = wire.parse_replay_request([b"dealer", *line["frames"]])
        answers = [
            wire.parse_replay(answer["frames"])
            for answer in of_version(lines, version, "replay_rep")
            if answer["label"] == line["label"]
        ]
        assert [one.seq for one in publisher.replay(start)] == [
            one.seq for one in answers if isinstance(one, Message)
        ]


def test_the_first_releases_hashes_were_python_ints() -> None:
    """Which can be negative: no recording has one, because its events were made by hand."""
    payload = wire.encode_batch(Batch(1.0, (AllBlocksCleared(), BlockRemoved((5,)))), DIALECTS["0.9.0"])

    negative = payload.replace(b"\x91\x05", b"\x91\xfb")

    assert wire.decode_batch(negative).events == (AllBlocksCleared(), BlockRemoved((2**64 - 5,)))
