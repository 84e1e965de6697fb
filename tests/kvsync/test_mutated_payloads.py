"""Fuzz: whatever happens to a payload, nothing crashes, nothing is made up, and the stream goes on.

Payloads of real engines (where the recordings are) and of our own encoder, mutated as bytes and as trees.
*Wrong* is every event, and every entry of the index, that a reading of the mutated payload by other code does
not give: `rereading` over msgspec's untyped decoder, and where that refuses, over MessagePack unpacked by
hand. Both ways of reading must agree in what is a batch, which events it has, and how many it cannot have.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from resync.kvsync import handlers, rereading, truth, wire
from resync.kvsync.errors import WireError
from resync.kvsync.index import PrefixIndex
from resync.kvsync.records import AllBlocksCleared, Batch, BlockRemoved, BlockStored, KVEvent, Message
from resync.kvsync.subscriber import Apply, Degrade, State, Subscriber, SubscriberSettings
from resync.kvsync.wire import DIALECTS, Dialect, HashForm, WireForm

pytestmark = [pytest.mark.unit, pytest.mark.no_cover]  # traced: three times as long, no line more

Lines = tuple[dict[str, Any], ...]

ROUNDS = 10
MUTATIONS_PER_ROUND = 20_000
"""200,000 in all; the first round belongs to the unit tier."""
CUT_EVERY = 25
"""Mutations between two comparisons of the index with the second reading."""
RECORDED = [
    "vllm-0.32.0-scheduler-block16.jsonl",
    "vllm-0.23.0-scheduler-block16-arrays.jsonl",
    "vllm-0.32.0-inproc-byteshash.jsonl",
    "vllm-0.32.0-inproc-hybrid-2groups.jsonl",
    "vllm-publisher-by-version.jsonl",
]
SIZE_MAX = 400
"""Larger payloads add time, not cases: their batches repeat what smaller ones have."""

STRANGE: tuple[object, ...] = (
    None, True, -1, 0, 2**63, 2**64 - 1, -(2**63), 1.5, float("nan"), float("inf"), "", "GPU", "CPU", "type",
    b"", b"seven b", b"\xff" * 32, [], {}, [[[]]], {"type": "BlockStored"}, ["BlockRemoved", [1]],
    "BlockStored", "BlockRemoved", "AllBlocksCleared", "block_hashes", "events", 1e300,
)  # fmt: skip


# --- mutations


def mutated_bytes(payload: bytes, chance: random.Random) -> bytes:
    """A few bytes turned, lost, doubled or set to what has a meaning; mostly behind the header."""
    data = bytearray(payload)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(min(11, len(data) - 1) if chance.random() < 0.9 else 0, len(data))
        match chance.randrange(5):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.choice(
                    b"\x00\x80\x90\x91\xa0\xc0\xc1\xc4\xca\xcf\xd3\xd6\xd9\xdc\xde\xdf\xff"
                )
            case 2:
                data[at] = chance.randrange(256)
            case 3:
                del data[at : at + chance.choice((1, 2, 9))]
            case _:
                data[at:at] = data[at : at + chance.choice((1, 2, 9))]
        if not data:
            break
    return bytes(data)


def mutated_tree(payload: bytes, chance: random.Random) -> bytes:
    """One value replaced, dropped, doubled or renamed somewhere in the unpacked batch."""
    whole = msgspec.msgpack.decode(payload)
    spot = whole
    while True:
        values = spot.values() if isinstance(spot, dict) else spot
        inner = [one for one in values if one and isinstance(one, list | dict)]
        if not inner or chance.random() < 0.3:
            break
        spot = chance.choice(inner)
    if isinstance(spot, dict):
        _mutate_map(spot, chance)
    else:
        _mutate_list(spot, chance)
    return msgspec.msgpack.encode(whole)


def _mutate_map(spot: dict[Any, Any], chance: random.Random) -> None:
    name = chance.choice([*spot])
    match chance.randrange(4):
        case 0:
            spot[name] = chance.choice(STRANGE)
        case 1:
            del spot[name]
        case 2:
            spot[chance.choice(("type", "medium", "new", "lora_id", 7, ""))] = spot[name]
        case _:
            spot[f"{name}x"] = spot.pop(name)


def _mutate_list(spot: list[Any], chance: random.Random) -> None:
    at = chance.randrange(len(spot))
    match chance.randrange(4):
        case 0:
            spot[at] = chance.choice(STRANGE)
        case 1:
            del spot[at]
        case 2:
            spot.insert(at, chance.choice((*STRANGE, spot[at])))
        case _:
            chance.shuffle(spot)


# --- what is mutated


def own_payloads(chance: random.Random) -> list[bytes]:
    """Some batches in every dialect and both kinds of hashes."""
    payloads = []
    forms: list[Dialect | WireForm] = [*DIALECTS.values(), WireForm.MAP_BATCH]
    for form in forms * 4:
        for hash_form in HashForm:
            events = tuple(own_event(chance) for _ in range(chance.randrange(1, 5)))
            payloads.append(wire.encode_batch(Batch(1.7e9 + chance.random(), events), form, hash_form))
    return payloads


def own_event(chance: random.Random) -> KVEvent:
    hashes = tuple(chance.getrandbits(64) for _ in range(chance.randrange(1, 4)))
    match chance.randrange(4):
        case 0:
            return AllBlocksCleared()
        case 1:
            return BlockRemoved(hashes, group_idx=chance.randrange(2))
    parent = chance.choice((None, chance.getrandbits(64)))
    tokens = tuple(chance.randrange(50_000) for _ in range(4 * len(hashes)))
    return BlockStored(
        hashes, parent, tokens, 4, chance.choice((None, "adapter")), group_idx=chance.randrange(2)
    )


@pytest.fixture(scope="session")
def corpus(recording_names: frozenset[str], request: pytest.FixtureRequest) -> list[bytes]:
    """Ours, and the recorded ones where they are."""
    payloads = own_payloads(random.Random(5))
    if recording_names:
        recorded: Callable[[str], Lines] = request.getfixturevalue("recorded")
        live = [line["frames"][-1] for name in RECORDED for line in recorded(name) if line["kind"] == "pub"]
        payloads += sorted({payload for payload in live if len(payload) <= SIZE_MAX})
    return payloads


# --- the second reading


def second_reading(payload: bytes) -> Batch | None:
    try:
        return rereading.interpret(msgspec.msgpack.decode(payload))
    except WireError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
        return None if str(error) == "Input data was truncated" else by_hand(payload)


def by_hand(payload: bytes) -> Batch | None:
    try:
        return rereading.read(payload)
    except WireError:
        return None


class Counts:
    """How the mutations of one round came out."""

    def __init__(self) -> None:
        self.batches = self.refused = self.damaged = self.intact = self.entries = 0

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in vars(self).items())


class Follower:
    """A live subscriber with an index, fed one payload after the other."""

    def __init__(self) -> None:
        self.index = PrefixIndex(block_size=4)
        self._subscriber = Subscriber(SubscriberSettings())
        self._subscriber.connected(0.0)
        self._subscriber.replay_ended(0.0)
        self._subscriber.replay_ended(0.0)

    def follow(self, payload: bytes) -> Batch | None:
        """What the subscriber made of it: the batch that it applied, or None; live in any case."""
        seq = self._subscriber.applied_seq + 1
        effects = self._subscriber.live(Message(b"", seq, payload), 0.0)
        assert (self._subscriber.state, self._subscriber.applied_seq) == (State.LIVE, seq)
        batches = [effect.batch for effect in effects if isinstance(effect, Apply)]
        for batch in batches:
            handlers.apply_batch(self.index, "pod", batch)
        refused = not batches or batches[0].malformed
        assert any(isinstance(effect, Degrade) for effect in effects) == bool(refused)
        return batches[0] if batches else None

    def copies(self) -> dict[truth.BlockKey, int]:
        """What the index holds."""
        return {(entry.group, entry.hash): entry.copies for entry in self.index.entries("pod")}


def check(got: Batch | None, expected: Batch | None) -> None:
    """Nothing made up, nothing dropped without being counted."""
    assert (got is None) == (expected is None)
    if got is None or expected is None:
        return
    assert got.events == expected.events
    assert got.dp_rank == expected.dp_rank
    assert len(got.unknown_events) == expected.malformed >= got.malformed


def run_round(corpus: list[bytes], chance: random.Random, mutations: int) -> Counts:
    counts = Counts()
    for first in range(0, mutations, CUT_EVERY):
        follower = Follower()
        readings: list[Batch] = []
        for _ in range(first, min(first + CUT_EVERY, mutations)):
            payload = chance.choice(corpus)
            mutated = (mutated_bytes if chance.random() < 0.5 else mutated_tree)(payload, chance)
            expected = second_reading(mutated)
            try:
                check(follower.follow(mutated), expected)
            except Exception as error:
                error.add_note(f"payload {mutated.hex()}, made from {payload.hex()}")
                raise
            readings += [expected] if expected else []
            counts.refused += expected is None
            counts.damaged += expected is not None and bool(expected.malformed)
        folded = truth.fold(readings)
        assert follower.copies() == {key: held.copies for key, held in folded.items()}
        counts.entries += len(folded)
        assert follower.follow(payload) == wire.decode_batch(payload), "the stream does not go on"
    counts.batches = mutations - counts.refused
    counts.intact = counts.batches - counts.damaged
    return counts


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, ROUNDS))]
)
def test_mutations_crash_nothing_and_invent_nothing(
    number: int, corpus: list[bytes], report: Callable[[str], None]
) -> None:
    counts = run_round(corpus, random.Random(number), MUTATIONS_PER_ROUND)

    report(f"round {number}: {MUTATIONS_PER_ROUND:,} mutations of {len(corpus)} payloads: {counts}")
    assert counts.batches >= MUTATIONS_PER_ROUND / 2, "too few pass the batch header to say anything"
    assert min(counts.refused, counts.damaged, counts.intact) >= MUTATIONS_PER_ROUND / 20


def test_the_second_reading_is_the_same_by_hand(corpus: list[bytes]) -> None:
    """The fast way to the second reading leans on msgspec's untyped decoder; the slow way on nothing."""
    chance = random.Random(77)
    for _ in range(1000):
        mutated = mutated_bytes(chance.choice(corpus), chance)
        assert second_reading(mutated) == by_hand(mutated), mutated.hex()


def all_or_nothing(batch: Batch) -> Batch:
    if batch.unknown_events:
        raise WireError(batch.unknown_events[0])
    return batch


def uncounted(batch: Batch) -> Batch:
    return msgspec.structs.replace(batch, unknown_events=(), malformed=0)


def rooted(batch: Batch) -> Batch:
    """Every block behind an unknown parent becomes a root."""
    events = tuple(
        msgspec.structs.replace(event, parent_block_hash=None) if isinstance(event, BlockStored) else event
        for event in batch.events
    )
    return msgspec.structs.replace(batch, events=events)


def crashing(batch: Batch) -> Batch:
    if batch.malformed:
        raise ValueError(batch.unknown_events[0])
    return batch


@pytest.mark.parametrize("broken", [all_or_nothing, uncounted, rooted, crashing])
def test_a_broken_decoder_is_caught(
    broken: Callable[[Batch], Batch], corpus: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = wire.decode_batch
    monkeypatch.setattr(wire, "decode_batch", lambda payload: broken(decode(payload)))
    with pytest.raises((AssertionError, ValueError)):
        run_round(corpus, random.Random(0), 500)
