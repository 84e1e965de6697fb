"""Bounds of a share from a few trials: against published values, and against what they promise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.metrics.proportions import at_least, at_most

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("trials", [1, 10, 20, 60, 300])
def test_none_of_n_is_the_rule_of_three(trials: int) -> None:
    assert at_most(0, trials) == pytest.approx(1 - 0.05 ** (1 / trials))
    assert at_most(0, trials) <= 3 / trials
    assert at_least(0, trials) == 0


def test_all_of_n_mirrors_none_of_n() -> None:
    assert at_most(20, 20) == 1
    assert at_least(20, 20) == pytest.approx(1 - at_most(0, 20))


@pytest.mark.parametrize("trials", [2_000, 30_000])
def test_of_many_trials_the_bounds_are_those_of_the_normal_distribution(trials: int) -> None:
    """Also where no float holds the number of ways."""
    hits = trials // 10
    spread = 1.645 * math.sqrt(0.1 * 0.9 / trials)
    assert at_least(hits, trials) == pytest.approx(0.1 - spread, abs=0.1 * spread)
    assert at_most(hits, trials) == pytest.approx(0.1 + spread, abs=0.1 * spread)


def test_without_a_trial_nothing_is_known() -> None:
    assert (at_least(0, 0), at_most(0, 0)) == (0, 1)


@given(trials=st.integers(1, 80), data=st.data())
def test_a_share_at_the_bound_gives_so_extreme_a_count_one_time_in_twenty(
    trials: int, data: st.DataObject
) -> None:
    hits = data.draw(st.integers(1, trials))
    share = at_least(hits, trials)
    as_many = sum(
        math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(hits, trials + 1)
    )
    assert as_many == pytest.approx(0.05)
    assert at_most(trials - hits, trials) == pytest.approx(1 - share)
    assert share < hits / trials
