"""An index of a life that has ended is never compared with the truth of the next."""

import pytest

from resync.observer.lives import Lives

pytestmark = pytest.mark.unit

POD = "default/engine-0"


def lives_after(incarnation: str, applied_seq: int) -> Lives:
    lives = Lives()
    lives.adopt(POD, incarnation=incarnation, applied_seq=applied_seq)
    return lives


def old(lives: Lives, *, incarnation: str, applied: int, published: int) -> bool:
    return lives.is_old_life(POD, incarnation=incarnation, applied_seq=applied, published_seq=published)


@pytest.mark.parametrize(
    ("applied", "published", "expected"),
    [
        pytest.param(50, 3, True, id="ahead of the new stream"),
        pytest.param(50, 80, True, id="new stream passed the old number"),
        pytest.param(60, 80, True, id="old stream went on after the last cut"),
        pytest.param(3, 80, False, id="fell back: the gateway noticed"),
        pytest.param(-1, 80, False, id="started again"),
        pytest.param(-1, -1, False, id="started again, nothing published"),
    ],
)
def test_another_incarnation(applied: int, published: int, expected: bool) -> None:  # noqa: FBT001
    assert old(lives_after("a", 50), incarnation="b", applied=applied, published=published) is expected


def test_the_same_incarnation_is_never_an_old_life() -> None:
    assert not old(lives_after("a", 50), incarnation="a", applied=60, published=55)


def test_ahead_of_everything_published_is_an_old_life_even_without_a_memory() -> None:
    assert old(Lives(), incarnation="b", applied=60, published=55)


def test_without_a_memory_a_number_within_the_stream_is_believed() -> None:
    assert not old(Lives(), incarnation="b", applied=5, published=55)


def test_a_life_that_was_applied_to_nothing_is_not_held_against_the_next() -> None:
    assert not old(lives_after("a", -1), incarnation="b", applied=-1, published=9)


def test_the_memory_ends_with_the_pod() -> None:
    lives = lives_after("a", 50)
    lives.forget_all_but(set())
    assert not old(lives, incarnation="b", applied=50, published=80)
