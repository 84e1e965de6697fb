"""Handlers: which event becomes which call, for which pod, under which adapter, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.kvsync import chain, handlers, wire
from resync.kvsync.handlers import NO_LORA, AppliedCounts
from resync.kvsync.index import PrefixIndex
from resync.kvsync.records import AllBlocksCleared, Batch, BlockRemoved, BlockStored, KVEvent

pytestmark = pytest.mark.unit

POD = "default/engine-0"
OTHER = "default/engine-1"
TOKENS = (0, 1, 0, 2, 0, 3)
SIZE = 2
STORED = BlockStored((1001, 1002, 1003), None, TOKENS, SIZE)
REMOVED = BlockRemoved((1001,))
CLEARED = AllBlocksCleared()


class Calls:
    """An index that only writes down what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, KVEvent | None]] = []

    def store(self, pod_key: str, event: BlockStored) -> None:
        self.calls.append(("store", pod_key, event))

    def remove(self, pod_key: str, event: BlockRemoved) -> None:
        self.calls.append(("remove", pod_key, event))

    def clear(self, pod_key: str) -> None:
        self.calls.append(("clear", pod_key, None))


def applied(*events: KVEvent, lora_id: int = NO_LORA) -> tuple[Calls, AppliedCounts]:
    index = Calls()
    return index, handlers.apply_batch(index, POD, Batch(1.0, events), lora_id=lora_id)


class TestEvents:
    @pytest.mark.scenario("event-flow/BlockStored", "event-flow/BlockRemoved", "event-flow/AllBlocksCleared")
    def test_each_event_is_one_call_for_the_sender_in_the_order_of_happening(self) -> None:
        index, counts = applied(REMOVED, STORED, CLEARED, STORED)

        assert index.calls == [
            ("remove", POD, REMOVED), ("store", POD, STORED), ("clear", POD, None), ("store", POD, STORED),
        ]  # fmt: skip
        assert counts == AppliedCounts(2, 1, 1, 6, 1)
        assert counts.by_type() == {"BlockStored": 2, "BlockRemoved": 1, "AllBlocksCleared": 1}

    def test_an_empty_batch_calls_nothing(self) -> None:
        index, counts = applied()
        assert (index.calls, counts) == ([], AppliedCounts())

    def test_events_without_blocks_are_still_said(self) -> None:
        """A hybrid model publishes ranges that it holds nothing of."""
        index, counts = applied(BlockStored((), 7, TOKENS, SIZE, group_idx=1), BlockRemoved(()))
        assert len(index.calls) == 2
        assert counts == AppliedCounts(1, 1, 0, 0, 0)

    @pytest.mark.parametrize("medium", ["GPU", None])
    def test_the_pool_is_meant_by_name_and_by_nil(self, medium: str | None) -> None:
        index, _counts = applied(
            BlockStored((1,), None, (1, 2), SIZE, medium=medium), BlockRemoved((1,), medium)
        )
        assert [call for call, *_rest in index.calls] == ["store", "remove"]

    @pytest.mark.parametrize("medium", ["CPU", "STORAGE", "CPU_PINNED", "DISK", "EXTERNAL", "gpu", ""])
    def test_other_media_are_counted_and_left_alone(self, medium: str) -> None:
        index, counts = applied(
            BlockStored((1,), None, (1, 2), SIZE, medium=medium), BlockRemoved((1,), medium), STORED
        )
        assert index.calls == [("store", POD, STORED)]
        assert counts == AppliedCounts(stored_events=1, stored_blocks=3, other_medium_events=2)

    def test_what_could_not_be_read_and_what_was_read_past_is_counted(self) -> None:
        batch = Batch(1.0, (STORED,), 0, ("HeartBeat", "BlockStored: why"), 1, ("BlockStored.tier",))
        counts = handlers.apply_batch(Calls(), POD, batch)
        assert counts == AppliedCounts(1, 0, 0, 3, 0, 0, unknown_events=2, unknown_fields=1)

    def test_an_index_that_fails_is_not_swallowed(self) -> None:
        class Failing(Calls):
            def remove(self, pod_key: str, event: BlockRemoved) -> None:
                raise OverflowError(f"{pod_key} {event}")

        index = Failing()
        with pytest.raises(OverflowError):
            handlers.apply_batch(index, POD, Batch(1.0, (STORED, REMOVED, STORED)))
        assert index.calls == [("store", POD, STORED)]


class TestAdapters:
    """(what the event says, what the pod's label says) -> the adapter that the index is told."""

    @pytest.mark.parametrize(
        ("lora_name", "lora_id", "pod_lora_id", "adapter"),
        [
            (None, None, NO_LORA, None),
            (None, NO_LORA, NO_LORA, None),
            ("adapter-a", None, NO_LORA, "adapter-a"),
            ("adapter-a", 7, NO_LORA, "adapter-a"),
            ("adapter-a", 7, 9, "adapter-a"),
            (None, 7, NO_LORA, "7"),  # vLLM before 0.14.1
            (None, 7, 9, "7"),
            (None, None, 9, "9"),
            (None, NO_LORA, 9, None),  # the event knows better than the label
            (None, 0, NO_LORA, "0"),
        ],
    )
    def test_table(
        self, lora_name: str | None, lora_id: int | None, pod_lora_id: int, adapter: str | None
    ) -> None:
        event = BlockStored((1,), None, (1, 2), SIZE, lora_name=lora_name, lora_id=lora_id)

        index, _counts = applied(event, lora_id=pod_lora_id)

        ((_call, _pod, told),) = index.calls
        assert isinstance(told, BlockStored)
        assert told.lora_name == adapter
        assert (told.block_hashes, told.token_ids, told.block_size) == ((1,), (1, 2), SIZE)

    def test_the_default_is_the_base_model(self) -> None:
        index = PrefixIndex(block_size=SIZE)
        handlers.apply_batch(index, POD, Batch(1.0, (STORED,)))
        assert NO_LORA == -1
        assert index.match(TOKENS) == {POD: 3}

    @pytest.mark.parametrize("version", [*wire.DIALECTS])
    def test_blocks_of_an_adapter_are_never_the_base_models_in_any_version(self, version: str) -> None:
        event = BlockStored((1,), None, (1, 2), SIZE, lora_name="adapter-a", lora_id=7)
        payload = wire.encode_batch(Batch(1.0, (event,)), wire.DIALECTS[version])
        index = PrefixIndex(block_size=SIZE)

        handlers.apply_batch(index, POD, wire.decode_batch(payload))

        assert index.match((1, 2)) == {}
        assert index.match((1, 2), "adapter-a") or index.match((1, 2), "7")


class TestTaskDocument:
    """Its handler cases, on the real index: mappings are entries, hashes are of the engine."""

    def test_stored_blocks_are_mapped(self) -> None:
        index = PrefixIndex(block_size=SIZE)
        handlers.apply_batch(index, POD, Batch(1.0, (STORED,)))
        keys = chain.prefix_keys(TOKENS, SIZE)
        assert {entry.hash: entry.prefix_key for entry in index.entries(POD)} == {
            1001: keys[0], 1002: keys[1], 1003: keys[2],
        }  # fmt: skip

    def test_one_of_two_stored_blocks_removed_leaves_the_other(self) -> None:
        index = PrefixIndex(block_size=SIZE)
        two = BlockStored((2001, 2002), None, (0, 1, 0, 2), SIZE)
        handlers.apply_batch(index, POD, Batch(1.0, (two, BlockRemoved((2001,)))))
        assert [entry.hash for entry in index.entries(POD)] == [2002]

    def test_a_removal_by_one_pod_leaves_the_other_pods_blocks(self) -> None:
        index = PrefixIndex(block_size=SIZE)
        for pod in (POD, OTHER):
            handlers.apply_batch(index, pod, Batch(1.0, (STORED,)))
        handlers.apply_batch(index, POD, Batch(1.0, (BlockRemoved((1001, 1002, 1003)),)))
        assert index.match(TOKENS) == {OTHER: 3}

    def test_all_cleared_empties_the_sender_only(self) -> None:
        index = PrefixIndex(block_size=SIZE)
        for pod in (POD, OTHER):
            handlers.apply_batch(index, pod, Batch(1.0, (STORED,)))
        handlers.apply_batch(index, POD, Batch(1.0, (CLEARED,)))
        assert index.match(TOKENS) == {OTHER: 3}
        assert (index.entries(POD), set(index.pods())) == ((), {POD, OTHER})

    def test_a_pod_nobody_has_heard_of_may_say_anything(self) -> None:
        index = PrefixIndex(block_size=SIZE)
        handlers.apply_batch(index, POD, Batch(1.0, (REMOVED,)))
        assert index.entries(POD) == ()
        handlers.apply_batch(index, POD, Batch(1.0, (CLEARED,)))
        assert index.entries(POD) == ()
        handlers.apply_batch(index, POD, Batch(1.0, (STORED,)))
        assert index.match(TOKENS) == {POD: 3}

    def test_a_late_duplicate_is_not_this_modules_to_find(self) -> None:
        """Numbers are the subscriber's: what reaches the handlers is applied, once per call."""
        index = PrefixIndex(block_size=SIZE)
        for _ in range(2):
            handlers.apply_batch(index, POD, Batch(1.0, (STORED,)))
        assert {entry.copies for entry in index.entries(POD)} == {2}

    def test_ten_pods_of_a_hundred_events_lose_none(self) -> None:
        index = PrefixIndex(block_size=4)
        for number in range(100):
            for pod in range(10):
                event = BlockStored((pod * 1000 + number,), None, (number,) * 4, 4)
                handlers.apply_batch(index, f"pod-{pod}", Batch(1.0, (event,)))
        assert index.sizes() == {f"pod-{pod}": 100 for pod in range(10)}
        assert index.match((7,) * 4) == {f"pod-{pod}": 1 for pod in range(10)}


EVENT: st.SearchStrategy[KVEvent] = (
    st.builds(
        BlockStored,
        st.lists(st.integers(0, 9), max_size=3).map(tuple),
        st.none(),
        st.just((1, 2)),
        st.just(SIZE),
        medium=st.sampled_from(["GPU", "CPU", None]),
    )
    | st.builds(
        BlockRemoved,
        st.lists(st.integers(0, 9), max_size=3).map(tuple),
        medium=st.sampled_from(["GPU", "CPU", None]),
    )
    | st.just(CLEARED)
)


@given(st.lists(EVENT, max_size=12))
def test_every_event_is_either_called_or_counted_and_all_calls_name_the_sender(events: list[KVEvent]) -> None:
    index, counts = applied(*events)

    assert len(index.calls) + counts.other_medium_events == len(events)
    assert sum(counts.by_type().values()) == len(index.calls)
    assert {pod for _call, pod, _event in index.calls} <= {POD}
    assert [event for _call, _pod, event in index.calls if event is not None] == [
        event for event in events if not isinstance(event, AllBlocksCleared) and event.medium != "CPU"
    ]
