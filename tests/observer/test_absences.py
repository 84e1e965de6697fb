"""A pod on one side only is news for a moment and a finding afterwards."""

import pytest

from resync.kits.clocks import ManualClock
from resync.observer.absences import Absences, Allowances

pytestmark = pytest.mark.unit

ALLOWED = Allowances(first_subscription_s=10.0, later_s=1.0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def absences(clock: ManualClock) -> Absences:
    return Absences(clock=clock, allowances=ALLOWED)


def test_a_first_subscription_may_take_its_allowance(clock: ManualClock, absences: Absences) -> None:
    absences.update(engines={"a"}, viewed=set())
    clock.advance(9.9)
    absences.update(engines={"a"}, viewed=set())
    assert not absences.overdue("a")
    clock.advance(0.1)
    assert absences.overdue("a")


def test_once_subscribed_only_the_short_allowance_is_left(clock: ManualClock, absences: Absences) -> None:
    absences.update(engines={"a"}, viewed={"a"})
    absences.update(engines={"a"}, viewed=set())
    assert not absences.overdue("a")
    clock.advance(1.0)
    assert absences.overdue("a")


def test_a_pod_only_the_gateway_knows_is_overdue_after_the_short_allowance(
    clock: ManualClock, absences: Absences
) -> None:
    absences.update(engines={"a"}, viewed={"a"})
    absences.update(engines=set(), viewed={"a"})
    clock.advance(1.0)
    assert absences.overdue("a")


def test_both_sides_again_starts_the_clock_anew(clock: ManualClock, absences: Absences) -> None:
    absences.update(engines={"a"}, viewed=set())
    clock.advance(20.0)
    absences.update(engines={"a"}, viewed={"a"})
    assert not absences.overdue("a")
    absences.update(engines={"a"}, viewed=set())
    assert not absences.overdue("a")


def test_a_pod_that_left_both_sides_is_new_when_it_returns(clock: ManualClock, absences: Absences) -> None:
    absences.update(engines={"a"}, viewed={"a"})
    absences.update(engines=set(), viewed=set())
    absences.update(engines={"a"}, viewed=set())
    clock.advance(5.0)
    assert not absences.overdue("a")
