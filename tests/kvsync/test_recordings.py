"""Real streams: every recorded file decodes, and folds to what its engine really held.

A count index can know what the engine holds except where the stream does not say it: right after a reset (the
clear is published with the next step only) and under full reports (stores without a new copy). The expected
numbers of such snapshots are those of the recordings' own description.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resync.kvsync import handlers, truth, wire
from resync.kvsync.index import PrefixIndex
from resync.kvsync.records import Batch, BlockRemoved, BlockStored, Message, ReplayEnd

pytestmark = pytest.mark.unit

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "recordings"
NAMES = sorted(path.name for path in RECORDINGS.glob("*.jsonl"))
VERSIONS = "vllm-publisher-by-version.jsonl"
STREAMS = [name for name in NAMES if name != VERSIONS]

# file -> (snapshots with content, snapshots that differ from the count index)
SNAPSHOTS = {
    "vllm-0.32.0-inproc-truth.jsonl": (161, 1),
    "vllm-0.32.0-inproc-noexact-truth.jsonl": (121, 1),
    "vllm-0.32.0-inproc-fullreport-truth.jsonl": (81, 40),
    "vllm-0.32.0-inproc-hybrid-2groups.jsonl": (61, 1),
    "vllm-0.32.0-scheduler-block16.jsonl": (101, 1),
    "vllm-0.23.0-scheduler-block16-arrays.jsonl": (101, 1),
}


def needs_recordings() -> None:
    if not NAMES:
        pytest.skip(f"the recorded streams are not here: {RECORDINGS} is absent or empty")


def lines(name: str) -> Iterator[dict[str, Any]]:
    needs_recordings()
    with (RECORDINGS / name).open() as file:
        yield from map(json.loads, file)


def frames(line: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(frame) for frame in line["frames"]]


def test_the_recordings_are_there_or_said_to_be_absent() -> None:
    needs_recordings()
    assert len(STREAMS) >= 14
    assert VERSIONS in NAMES


@pytest.mark.parametrize("name", STREAMS or ["absent"])
def test_every_batch_of_every_stream_decodes_whole(name: str) -> None:
    live: set[tuple[int, bytes]] = set()
    for line in lines(name):
        if line["kind"] == "pub":
            message = wire.parse_live(frames(line))
            batch = wire.decode_batch(message.payload)
            assert (batch.unknown_events, batch.malformed) == ((), 0)
            assert batch.events
            live.add((message.seq, message.payload))
        elif line["kind"] == "replay_rep" and line.get("socket") == "DEALER":
            answer = wire.parse_replay(frames(line))
            assert isinstance(answer, ReplayEnd) or (answer.seq, answer.payload) in live
    assert live


def snapshots(name: str) -> Iterator[tuple[list[Batch], dict[truth.BlockKey, int]]]:
    """After each truth line: the batches so far, and the copies that the engine held."""
    batches: list[Batch] = []
    for line in lines(name):
        if line["kind"] == "pub":
            batches.append(wire.decode_batch(wire.parse_live(frames(line)).payload))
        elif line["kind"] == "truth":
            keys = {tuple(map(int, key.split(":"))): copies for key, copies in line["blocks"].items()}
            yield batches, {(group, block_hash): copies for (group, block_hash), copies in keys.items()}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_the_index_holds_what_the_engine_held(name: str) -> None:
    index = PrefixIndex(block_size=16 if "block16" in name else 32)
    applied = count = differ = 0
    for batches, held in snapshots(name):
        for batch in batches[applied:]:
            handlers.apply_batch(index, "pod", batch)
        applied = len(batches)
        entries = {(entry.group, entry.hash): entry for entry in index.entries("pod")}
        folded = truth.fold(batches)
        assert {key: entry.copies for key, entry in entries.items()} == {
            k: v.copies for k, v in folded.items()
        }
        count += 1
        differ += entries.keys() != held.keys()
        if "fullreport" not in name and entries.keys() == held.keys():
            assert {key: entry.copies for key, entry in entries.items()} == held
    assert (count, differ) == SNAPSHOTS[name]


@pytest.mark.parametrize("name", [name for name in SNAPSHOTS if "hybrid" not in name])
def test_no_block_of_a_one_group_stream_is_left_without_its_prefix(name: str) -> None:
    index = PrefixIndex(block_size=16 if "block16" in name else 32)
    batches = [*snapshots(name)][-1][0]
    for batch in batches:
        handlers.apply_batch(index, "pod", batch)
        assert all(entry.prefix_key is not None for entry in index.entries("pod"))
    assert {(e.group, e.hash): e.prefix_key for e in index.entries("pod")} == {
        key: held.prefix_key for key, held in truth.fold(batches).items()
    }


def by_version(kind: str) -> dict[str, dict[str, list[list[bytes]]]]:
    """Version -> label -> frames of the lines of that kind."""
    found: dict[str, dict[str, list[list[bytes]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines(VERSIONS):
        if line["kind"] == kind:
            found[line["version"]][line["label"]].append(frames(line))
    return found


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


def test_all_published_versions_say_the_same() -> None:
    published = by_version("pub")
    assert len(published) == 17
    decoded = {
        version: {label: wire.decode_batch(wire.parse_live(one).payload) for label, (one,) in labels.items()}
        for version, labels in published.items()
    }
    reference = {label: essence(batch) for label, batch in decoded["0.32.0"].items()}
    assert len(reference) == 8
    for version, labels in decoded.items():
        for label, batch in labels.items():
            assert batch.unknown_events == (), f"{version}: {label}"
            if "bytes" in label or label in reference:
                assert essence(batch) == reference[label], f"{version}: {label}"


def test_all_published_versions_are_read_back_from_replay() -> None:
    published = {
        version: [wire.parse_live(one) for (one,) in labels.values()]
        for version, labels in by_version("pub").items()
    }
    requests = by_version("replay_req")
    answers = by_version("replay_rep")
    assert len(answers) == 17
    for version, labels in answers.items():
        ring = published[version][-4:]
        for label, replies in labels.items():
            _identity, start = wire.parse_replay_request([b"id", *requests[version][label][0]])
            *messages, end = [wire.parse_replay(reply) for reply in replies]
            assert isinstance(end, ReplayEnd), f"{version}: {label}"
            expected = [(one.seq, one.payload) for one in ring if one.seq >= start]
            assert [(one.seq, one.payload) for one in messages if isinstance(one, Message)] == expected
