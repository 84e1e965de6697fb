"""Truth: the fold owes nothing to what it judges; a comparison finds each kind, once, at the right pod."""

import ast
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh64_intdigest

from resync.kvsync import chain, folding, rereading, truth, unpacking, wire
from resync.kvsync.errors import WireError
from resync.kvsync.records import AllBlocksCleared, Batch, BlockRemoved, BlockStored, KVEvent
from resync.kvsync.truth import Divergence, DivergenceKind, Finding, Held
from resync.kvsync.wire import HashForm

pytestmark = pytest.mark.unit

SIZE = 2
TOKENS = (10, 11, 20, 21, 30, 31)
KEYS = chain.prefix_keys(TOKENS, SIZE)
STORED = BlockStored((1, 2, 3), None, TOKENS, SIZE)


class TestIndependence:
    @pytest.mark.parametrize("module", [folding, rereading, unpacking])
    def test_the_second_opinion_imports_nothing_that_it_judges(self, module: object) -> None:
        """Its own three modules, the records, the errors, and what is not ours."""
        source = Path(str(getattr(module, "__file__", None))).read_text()
        ours = {
            node.module
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("resync")
        }
        named = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import)]

        assert ours <= {"resync.kvsync.records", "resync.kvsync.errors", "resync.kvsync.unpacking"}
        assert not [alias.name for node in named for alias in node.names if alias.name.startswith("resync")]
        assert "canonical_hash" not in source

    def test_the_comparison_knows_no_index(self) -> None:
        assert "resync.kvsync.index" not in Path(truth.__file__).read_text()

    def test_a_decoder_that_takes_the_first_bytes_of_a_hash_is_contradicted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As AIBrix does; the fold must not follow the decoder into the mistake."""
        batch = Batch(1.0, (STORED,))
        payload = wire.encode_batch(batch, wire.WireForm.MAP, HashForm.BYTES)
        monkeypatch.setattr(
            "resync.kvsync.decoding.canonical_hash", lambda value: int.from_bytes(value[:8], "big")
        )

        assert wire.decode_batch(payload) != batch
        assert rereading.read(payload) == batch

    def test_a_chain_that_takes_tokens_the_wrong_way_round_is_contradicted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("resync.kvsync.chain.prefix_key", lambda parent, tokens: parent ^ tokens[0])

        assert [held.prefix_key for held in truth.fold([Batch(1.0, (STORED,))]).values()] == [*KEYS]


class TestFold:
    @pytest.mark.parametrize(
        ("events", "copies"),
        [
            ((STORED,), {1: 1, 2: 1, 3: 1}),
            ((STORED, STORED, BlockRemoved((3, 3, 2))), {1: 2, 2: 1}),
            ((BlockRemoved((1,)), STORED), {1: 1, 2: 1, 3: 1}),
            ((STORED, AllBlocksCleared()), {}),
            ((STORED, BlockRemoved((1,), medium="CPU"), BlockRemoved((2,), medium=None)), {1: 1, 3: 1}),
            ((BlockStored((1,), None, (1, 2), SIZE, medium="STORAGE"),), {}),
        ],
    )
    def test_counts(self, events: tuple[KVEvent, ...], copies: dict[int, int]) -> None:
        held = truth.fold([Batch(1.0, events)])
        assert {key: block.copies for key, block in held.items()} == {
            (0, block_hash): count for block_hash, count in copies.items()
        }

    def test_groups_are_counted_apart_and_share_what_a_hash_means(self) -> None:
        masked = BlockStored((1,), None, TOKENS[:4], SIZE, group_idx=1)
        root = BlockStored((1,), None, TOKENS[:2], SIZE, group_idx=0)

        assert truth.fold([Batch(1.0, (masked, root))]) == {
            (1, 1): Held(1, KEYS[0]),
            (0, 1): Held(1, KEYS[0]),
        }

    def test_a_block_behind_an_unknown_parent_has_no_known_prefix(self) -> None:
        assert truth.fold([Batch(1.0, (BlockStored((9,), 8, (1, 2), SIZE),))]) == {(0, 9): Held(1, None)}

    def test_the_seed_is_root_and_seed_of_the_hash(self) -> None:
        held = truth.fold([Batch(1.0, (BlockStored((1,), None, (5,), 1),))], seed=7)
        assert held == {(0, 1): Held(1, xxh64_intdigest(bytes.fromhex("070000000000000000000005"), 7))}


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
    max_leaves=40,
)


class TestUnpacking:
    @given(VALUE)
    def test_by_hand_reads_what_msgspec_wrote(self, value: object) -> None:
        assert unpacking.unpack(msgspec.msgpack.encode(value)) == value

    @pytest.mark.parametrize("size", [15, 16, 31, 32, 255, 256, 2**16 - 1, 2**16])
    def test_every_header_of_a_size_is_known(self, size: int) -> None:
        for value in ([1] * size, b"x" * size, "x" * size, {str(n): n for n in range(size)}):
            assert unpacking.unpack(msgspec.msgpack.encode(value)) == value

    @given(st.binary(max_size=40))
    def test_what_msgspec_reads_it_reads_and_all_else_is_refused_with_the_byte(self, data: bytes) -> None:
        try:
            msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
            return
        unpacking.unpack(data)

    @pytest.mark.parametrize(
        ("data", "reason"),
        [(b"", "too early (byte 0)"), (b"\xc1", "first byte 0xc1 (byte 0)"), (b"\xa5abc", "early (byte 4)"),
         (b"\x91\xce\0", "(byte 3)"), (b"\xc0\xc0", "trailing bytes (byte 1)"),
         (b"\x91" * 100_000, "nesting without end")],
    )  # fmt: skip
    def test_a_refusal_names_the_byte(self, data: bytes, reason: str) -> None:
        with pytest.raises(WireError) as refusal:
            unpacking.unpack(data)
        assert reason in str(refusal.value)

    def test_what_is_no_text_stays_and_what_is_no_name_becomes_none(self) -> None:
        assert unpacking.unpack(b"\xa2a\xff") == "a\udcff"
        assert unpacking.unpack(b"\x82\x01\x02\xa1a\x03") == {"\udcff (byte 1)": 2, "a": 3}
        assert unpacking.unpack(b"\xd6\xff\0\0\0\1") == {"ext": b"\xff\0\0\0\1"}


def entry(key: int | None) -> Held:
    return Held(1, key)


class TestComparison:
    def test_each_kind_is_found_once_and_at_the_pod_that_is_wrong(self) -> None:
        held = {
            "a": {(0, 1): entry(KEYS[0]), (0, 2): entry(KEYS[1])},
            "b": {(0, 3): entry(KEYS[2]), (1, 3): entry(KEYS[2])},
        }
        believed = {
            "a": {(0, 1): entry(KEYS[1]), (0, 3): entry(KEYS[2]), (0, 9): entry(None)},
            "b": {(1, 3): entry(KEYS[2])},
        }

        found = truth.compare(held, believed)

        assert found == Divergence(
            missing=(Finding(DivergenceKind.MISSING, "a", 0, 2),),
            phantom=(Finding(DivergenceKind.PHANTOM, "a", 0, 9),),
            misattributed=(Finding(DivergenceKind.MISATTRIBUTED, "a", 0, 3, "b"),),
            mis_hashed=(Finding(DivergenceKind.MIS_HASHED, "a", 0, 1),),
            audited=6,
        )
        assert bool(found)
        assert [finding.kind for finding in found.findings()] == [*DivergenceKind]
        assert [found.count(kind, "a") for kind in DivergenceKind] == [1, 1, 1, 1]
        assert [found.count(kind, "b") for kind in DivergenceKind] == [0, 0, 0, 0]
        assert [found.count(kind) for kind in DivergenceKind] == [1, 1, 1, 1]

    def test_one_stray_of_a_block_that_two_pods_lack_is_one_misattributed_and_one_missing(self) -> None:
        block = {(0, 1): entry(KEYS[0])}

        found = truth.compare({"a": block, "b": block, "c": {}}, {"c": block})

        assert [found.count(kind) for kind in DivergenceKind] == [1, 0, 1, 0]

    def test_a_block_that_two_pods_hold_is_not_misattributed(self) -> None:
        block = {(0, 1): entry(KEYS[0])}
        assert not truth.compare({"a": block, "b": block}, {"a": block, "b": block})

    @given(st.data())
    def test_whatever_is_wrong_is_counted_exactly_once(self, data: st.DataObject) -> None:
        side = st.dictionaries(
            st.tuples(st.integers(0, 1), st.integers(1, 3)), st.sampled_from([*KEYS]).map(entry), max_size=5
        )
        held, believed = (
            data.draw(st.dictionaries(st.sampled_from("abc"), side, max_size=3)) for _ in range(2)
        )

        found = truth.compare(held, believed)

        here = {(pod, key) for pod, blocks in held.items() for key in blocks}
        there = {(pod, key) for pod, blocks in believed.items() for key in blocks}
        strays = found.count(DivergenceKind.MISATTRIBUTED)
        assert found.count(DivergenceKind.MISSING) + strays == len(here - there)
        assert found.count(DivergenceKind.PHANTOM) + strays == len(there - here)
        assert found.audited == len(here | there)
        assert bool(found) == (held_blocks(held) != held_blocks(believed))


def held_blocks(side: dict[str, dict[tuple[int, int], Held]]) -> dict[str, dict[tuple[int, int], Held]]:
    return {pod: blocks for pod, blocks in side.items() if blocks}
