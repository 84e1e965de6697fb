"""A cut counts each kind against the right pod, and what only the router guessed does not count."""

import pytest

from resync.kvsync.truth import DivergenceKind
from resync.observer import cuts
from resync.observer.cuts import Late, Side
from resync.observer.records import BlockRow, EntryRow, PodView, Truth

pytestmark = pytest.mark.unit

A, B = "default/engine-a", "default/engine-b"


def rows(*hashes: int) -> list[BlockRow]:
    return [(0, one, 1, one + 1000) for one in hashes]


def entries(*hashes: int, why: str = "event", shift: int = 1000) -> list[EntryRow]:
    return [(0, one, 1, one + shift, why) for one in hashes]


def truth(*hashes: int, changed: int = 0, pending_s: float | None = None) -> Truth:
    return Truth(
        incarnation="a",
        seq=5,
        published_seq=9,
        blocks=rows(*hashes),
        changed_blocks=changed,
        oldest_pending_s=pending_s,
        stored_total=0,
        removed_total=0,
    )


def view(found: list[EntryRow]) -> PodView:
    return PodView(applied_seq=5, state="live", exact=True, entries=found)


def wrong(*sides: Side) -> dict[tuple[str, DivergenceKind], int]:
    return {key: count for key, count in cuts.compare(sides).items() if count}


@pytest.mark.parametrize(
    ("held", "believed", "expected"),
    [
        pytest.param(rows(1, 2), entries(1, 2), {}, id="equal"),
        pytest.param(rows(), entries(), {}, id="empty"),
        pytest.param(rows(1, 2), entries(1), {(A, DivergenceKind.MISSING): 1}, id="missing"),
        pytest.param(rows(1), entries(1, 2, 3), {(A, DivergenceKind.PHANTOM): 2}, id="phantom"),
        pytest.param(rows(1), entries(1, shift=7), {(A, DivergenceKind.MIS_HASHED): 1}, id="mis-hashed"),
    ],
)
def test_one_pod(
    held: list[BlockRow], believed: list[EntryRow], expected: dict[tuple[str, DivergenceKind], int]
) -> None:
    assert wrong(Side(pod_key=A, truth=held, index=believed)) == expected


def test_a_block_indexed_for_another_pod_is_misattributed_once() -> None:
    sides = (
        Side(pod_key=A, truth=rows(1), index=entries()),
        Side(pod_key=B, truth=rows(), index=entries(1)),
    )
    assert wrong(*sides) == {(B, DivergenceKind.MISATTRIBUTED): 1}


def test_an_orphan_that_is_held_is_missing_since_nobody_can_match_it() -> None:
    orphan: list[EntryRow] = [(0, 1, 1, None, "event")]
    assert wrong(Side(pod_key=A, truth=rows(1), index=orphan)) == {(A, DivergenceKind.MISSING): 1}
    assert wrong(Side(pod_key=A, truth=(), index=orphan)) == {(A, DivergenceKind.PHANTOM): 1}


def test_every_kind_of_every_pod_is_named_even_at_zero() -> None:
    assert cuts.compare([Side(pod_key=A, truth=(), index=())]) == {(A, kind): 0 for kind in DivergenceKind}


def test_entries_the_router_guessed_do_not_count() -> None:
    side = cuts.side(A, truth(1), view([*entries(1), *entries(2, why="route")]))
    assert wrong(side) == {}
    assert side.blocks_compared == 1


def test_an_old_life_is_phantom_whole() -> None:
    side = cuts.side_of_old_life(A, truth(1, 2), view(entries(1, 2, 3)))
    assert wrong(side) == {(A, DivergenceKind.PHANTOM): 3}
    assert side.late is None


def test_an_engine_nobody_subscribed_to_is_missing_whole() -> None:
    assert wrong(cuts.side_unsubscribed(A, truth(1, 2))) == {(A, DivergenceKind.MISSING): 2}


def test_blocks_compared_are_those_on_either_side() -> None:
    assert Side(pod_key=A, truth=rows(1, 2), index=entries(2, 3)).blocks_compared == 3


def test_lateness_is_the_age_of_the_oldest_pending_batch() -> None:
    assert Late(3, 100.0).age_s(100.25) == pytest.approx(0.25)
    assert Late(0, None).age_s(100.25) == 0.0
    assert Late(1, 100.5).age_s(100.25) == 0.0


def test_equality_looks_at_prefixes_too() -> None:
    assert cuts.equal(truth(1, 2), view(entries(1, 2)))
    assert not cuts.equal(truth(1, 2), view(entries(1, 2, shift=1)))
    assert not cuts.equal(truth(1, 2), view(entries(1)))
