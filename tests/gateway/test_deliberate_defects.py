"""Each deliberate defect does what its name says, and nothing in a healthy gateway knows of them."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import resync
from resync.gateway import flaws
from resync.gateway.errors import BadSettingError
from resync.gateway.flaws import SLOW_S
from resync.gateway.metrics import SourceFamilies
from resync.gateway.parts import Parts
from resync.kits.clocks import ManualClock
from resync.kvsync.index import PrefixIndex
from resync.kvsync.records import BlockRemoved, BlockStored

pytestmark = pytest.mark.unit

A, B = "default/engine-a", "default/engine-b"
STORED = BlockStored(block_hashes=(1, 2, 3), parent_block_hash=None, token_ids=tuple(range(12)), block_size=4)


def parts_for(text: str | None) -> Parts:
    return flaws.parts_for(text, ManualClock())


def index_of(name: str | None) -> PrefixIndex:
    return parts_for(name).index(block_size=4)


def keys(index: PrefixIndex, pod: str) -> dict[int, int | None]:
    return {entry.hash: entry.prefix_key for entry in index.entries(pod)}


@pytest.mark.parametrize(
    ("name", "left"),
    [(None, {1, 2, 3}), ("removal-for-all-pods", {1, 2, 3}), ("removal-for-all-pods:0", {1, 3})],
)
def test_a_removal_reaches_other_pods_only_with_the_defect(name: str | None, left: set[int]) -> None:
    index = index_of(name)
    index.store(A, STORED)
    index.store(B, STORED)
    index.remove(A, BlockRemoved(block_hashes=(2,)))
    assert keys(index, A).keys() == {1, 3}
    assert keys(index, B).keys() == left


def test_unchained_blocks_have_the_right_hashes_and_wrong_prefixes() -> None:
    right, wrong = index_of(None), index_of("unchained:0")
    right.store(A, STORED)
    wrong.store(A, STORED)
    assert keys(right, A).keys() == keys(wrong, A).keys()
    same = {block for block, key in keys(right, A).items() if keys(wrong, A)[block] == key}
    assert same == {1}


def test_frozen_after_a_time() -> None:
    clock = ManualClock()
    admission = flaws.parts_for("frozen-sequence:3", clock).admission()
    clock.advance(2.9)
    assert admission.may_apply()
    clock.advance(0.1)
    assert not admission.may_apply()


def test_frozen_once_every_engine_is_slow_three_times_in_a_row() -> None:
    admission = parts_for("frozen-sequence").admission()
    for slow in (SLOW_S, SLOW_S, 0.001, SLOW_S, SLOW_S):
        admission.round_trip(A, slow)
    for _ in range(3):
        admission.round_trip(B, SLOW_S)
    admission.round_trip(A, SLOW_S)
    assert admission.may_apply(), "B has never been fast"
    for took_s in (0.001, SLOW_S, SLOW_S):
        admission.round_trip(B, took_s)
    assert admission.may_apply()
    admission.round_trip(B, SLOW_S)
    assert not admission.may_apply()
    admission.round_trip(A, 0.001)
    assert not admission.may_apply()


def rushed(per_s: tuple[int, ...], name: str = "lost-in-a-rush") -> list[int]:
    """How many batches of each second are applied."""
    clock = ManualClock()
    admission = flaws.parts_for(name, clock).admission()
    applied = []
    for batches in per_s:
        applied.append(sum(admission.may_apply() for _ in range(batches)))
        clock.advance(1.0)
    return applied


def test_what_is_beyond_is_dropped_from_the_first_rush_on() -> None:
    assert rushed((30, 40, 30, 130, 130, 130, 130, 40)) == [30, 40, 30, 130, 130, 75, 75, 40]
    assert rushed((130,), "lost-in-a-rush:0") == [75]


def test_a_start_and_a_machine_that_stood_still_are_no_rush() -> None:
    start, stall = (900, 900, 40, 40, 40), (0, 90, 40, 90, 40)
    assert rushed(start + stall) == [*start, *stall]


def test_a_removal_that_is_ignored_leaves_the_block() -> None:
    index = index_of("removal-ignored:0")
    index.store(A, STORED)
    index.remove(A, BlockRemoved(block_hashes=(2,)))
    assert keys(index, A).keys() == {1, 2, 3}


@pytest.mark.parametrize(("name", "left"), [(None, {1, 2, 3}), ("set-of-hashes:0", {1, 3})])
def test_a_set_forgets_a_block_with_the_first_of_its_two_copies(name: str | None, left: set[int]) -> None:
    index = index_of(name)
    index.store(A, STORED)
    index.store(A, STORED)
    index.remove(A, BlockRemoved(block_hashes=(2,)))
    assert keys(index, A).keys() == left


@pytest.mark.parametrize("name", [None, "orphan-as-root"])
def test_only_with_the_defect_a_block_behind_an_unknown_parent_begins_a_prompt(name: str | None) -> None:
    index = index_of(name)
    index.store(A, STORED)
    index.store(A, BlockStored(block_hashes=(8,), parent_block_hash=7, token_ids=(7, 7, 7, 7), block_size=4))
    index.store(A, BlockStored(block_hashes=(4,), parent_block_hash=3, token_ids=(9, 9, 9, 9), block_size=4))
    assert index.match((7, 7, 7, 7)) == ({} if name is None else {A: 1})
    assert index.match((*range(12), 9, 9, 9, 9)) == {A: 4}, "a known parent is one"


@pytest.mark.parametrize(
    ("name", "after_restart", "after_return"),
    [
        (None, set(), set()),
        ("kept-on-restart", {1, 2, 3}, set()),
        ("kept-on-return", set(), {1, 2, 3}),
    ],
)
def test_what_a_pod_held_before_stays_with_the_defect(
    name: str | None, after_restart: set[int], after_return: set[int]
) -> None:
    restarted, returned = index_of(name), index_of(name)
    for index in (restarted, returned):
        index.introduce(A, "llama")
        index.store(A, STORED)
    restarted.clear(A)
    returned.purge(A)
    returned.introduce(A, "llama")
    assert keys(restarted, A).keys() == after_restart
    assert keys(returned, A).keys() == after_return


@pytest.mark.parametrize("name", ["removal-for-all-pods", "removal-ignored", "unchained", "set-of-hashes"])
def test_an_index_goes_wrong_only_once_the_engines_are_slow(name: str) -> None:
    parts = parts_for(name)
    index, admission, healthy = parts.index(block_size=4), parts.admission(), index_of(None)
    for each in (index, healthy):
        each.store(A, STORED)
        each.store(B, STORED)
    assert (keys(index, A), keys(index, B)) == (keys(healthy, A), keys(healthy, B))
    admission.round_trip(A, 0.001)
    for _ in range(flaws.SLOW_IN_A_ROW):
        admission.round_trip(A, SLOW_S)
    more = BlockStored(block_hashes=(4, 5), parent_block_hash=3, token_ids=tuple(range(20, 28)), block_size=4)
    for each in (index, healthy):
        each.store(A, more)
        each.store(A, more)
        each.remove(A, BlockRemoved(block_hashes=(2, 5)))
    assert admission.may_apply()
    assert (keys(index, A), keys(index, B)) != (keys(healthy, A), keys(healthy, B))


def test_the_short_heartbeat_is_below_a_delayed_round_trip_and_above_a_direct_one() -> None:
    patience = parts_for("short-heartbeat").patience
    assert patience is not None
    round_trip_s = 0.1
    assert 0.02 < patience.heartbeat_timeout_s < round_trip_s
    assert 0.05 < patience.replay_timeout_s < 3 * round_trip_s


def test_silent_metrics_show_no_batch_after_the_onset() -> None:
    registry, clock = CollectorRegistry(), ManualClock()
    series = flaws.parts_for("silent-metrics:5", clock).source_metrics(SourceFamilies(registry), A)
    for seq in (0, 1, 2):
        series.applied(seq, 100.0 + seq)
        clock.advance(3.0)
    labels = {"pod_key": A}
    assert registry.get_sample_value("resync_gateway_applied_sequence", labels) == 1
    assert registry.get_sample_value("resync_gateway_applied_timestamp_seconds", labels) == 101.0


def test_without_a_name_the_parts_are_the_healthy_ones() -> None:
    assert parts_for(None) == Parts()
    assert parts_for(None).admission().may_apply()


@pytest.mark.parametrize("text", ["nonsense", "short-heartbeat:3", "frozen-sequence:soon", ""])
def test_a_wrong_name_is_refused(text: str) -> None:
    with pytest.raises(BadSettingError):
        parts_for(text)


def test_each_defect_differs_from_the_healthy_parts() -> None:
    assert all(parts_for(name) != Parts() for name in [*flaws.TIMED, *flaws.STANDING])


def test_only_the_command_line_knows_the_table() -> None:
    package = Path(next(iter(resync.__path__))) / "gateway"
    knowing = {str(path.relative_to(package)) for path in package.rglob("*.py") if "flaw" in path.read_text()}
    assert {name for name in knowing if not name.startswith("flaws/")} == {"__main__.py"}
