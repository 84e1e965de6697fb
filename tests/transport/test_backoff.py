"""Pauses double to a limit and spread; the dice are given, so a run can be repeated."""

import random

import pytest

from resync.transport.backoff import Backoff

pytestmark = pytest.mark.unit


def pauses(seed: int, *, jitter: float = 0.5) -> list[float]:
    backoff = Backoff(min_s=0.1, max_s=1.0, jitter=jitter, dice=random.Random(seed))
    return [backoff.pause_s() for _ in range(8)]


def test_pauses_double_up_to_the_limit() -> None:
    assert pauses(0, jitter=0.0) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0]


def test_each_pause_is_stretched_by_up_to_the_jitter() -> None:
    plain = pauses(0, jitter=0.0)
    for seed in range(50):
        assert all(base <= pause <= base * 1.5 for base, pause in zip(plain, pauses(seed), strict=True))


def test_at_the_limit_two_engines_are_still_not_dialled_together() -> None:
    assert len({pauses(seed)[-1] for seed in range(50)}) == 50


def test_the_same_dice_give_the_same_pauses() -> None:
    assert pauses(7) == pauses(7)


def test_a_connection_that_came_up_begins_again_with_the_shortest() -> None:
    backoff = Backoff(min_s=0.1, max_s=1.0, jitter=0.0, dice=random.Random(0))
    first = [backoff.pause_s() for _ in range(3)]
    backoff.reset()
    assert (first[-1], backoff.pause_s()) == (0.4, 0.1)
