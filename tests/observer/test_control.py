"""The positive control goes 0 -> 1 -> 0, each phase held until the page was served twice."""

import pytest

from resync.kits.clocks import ManualClock
from resync.observer.control import PLANTED_ROW, REPEAT_S, RETRY_S, Control, Phase

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def control(clock: ManualClock) -> Control:
    return Control(clock=clock, phase_timeout_s=10.0)


def read_twice(control: Control) -> bool:
    control.exported()
    control.scraped()
    control.scraped()
    return control.exported()


def test_phases_follow_each_other_when_the_page_is_read(control: Control) -> None:
    phases = [control.phase]
    for _ in range(3):
        assert read_twice(control)
        phases.append(control.phase)
    assert phases == [Phase.BEFORE, Phase.PLANTED, Phase.AFTER, Phase.DONE]
    assert control.seen


def test_the_block_is_planted_in_one_phase_only(control: Control) -> None:
    rows = [control.rows]
    for _ in range(4):
        read_twice(control)
        rows.append(control.rows)
    assert rows == [[], [PLANTED_ROW], [], [], []]


def test_one_reading_is_not_enough(control: Control) -> None:
    control.exported()
    control.scraped()
    control.exported()
    assert control.phase is Phase.BEFORE


def test_readings_before_the_gauge_shows_the_phase_do_not_count(control: Control) -> None:
    for _ in range(5):
        control.scraped()
    control.exported()
    control.exported()
    assert control.phase is Phase.BEFORE


def test_a_phase_nobody_reads_ends_by_itself_and_counts_as_not_seen(
    clock: ManualClock, control: Control
) -> None:
    assert control.exported()
    clock.advance(9.9)
    assert control.exported()
    clock.advance(0.1)
    assert not control.exported()
    assert control.phase is Phase.PLANTED
    assert not control.seen


def test_an_unread_control_is_not_left_planted(clock: ManualClock, control: Control) -> None:
    for _ in range(6):
        control.exported()
        clock.advance(10.0)
    assert control.phase is Phase.DONE
    assert control.rows == []
    assert control.exported()


def finish(control: Control) -> None:
    while control.phase is not Phase.DONE:
        read_twice(control)


def test_it_says_when_it_was_last_read_to_its_end(clock: ManualClock, control: Control) -> None:
    assert control.completed_s is None
    finish(control)
    assert control.completed_s == clock.wall_s()


def test_it_is_repeated_every_hour_and_goes_through_all_its_states(
    clock: ManualClock, control: Control
) -> None:
    finish(control)
    first_s = control.completed_s
    clock.advance(REPEAT_S - 0.1)
    assert control.exported()
    assert control.phase is Phase.DONE
    clock.advance(0.1)
    assert control.exported()
    rows = [control.rows]
    while control.phase is not Phase.DONE:
        read_twice(control)
        rows.append(control.rows)
    assert rows == [[], [PLANTED_ROW], [], []]
    assert first_s is not None
    assert control.completed_s == pytest.approx(first_s + REPEAT_S)


def test_no_round_begins_while_something_is_wrong(clock: ManualClock, control: Control) -> None:
    finish(control)
    clock.advance(2 * REPEAT_S)
    phases = []
    for calm in (False, False, True):
        assert control.exported(calm=calm)
        phases.append(control.phase)
    assert phases == [Phase.DONE, Phase.DONE, Phase.BEFORE]


def test_an_unread_round_is_tried_again_soon_and_does_not_move_the_time_of_the_last_read_one(
    clock: ManualClock, control: Control
) -> None:
    finish(control)
    read_s = control.completed_s
    clock.advance(REPEAT_S)
    control.exported()
    control.exported()
    while control.phase is not Phase.DONE:
        clock.advance(10.0)
        control.exported()
    assert (control.seen, control.completed_s) == (False, read_s)
    clock.advance(RETRY_S)
    control.exported()
    assert control.seen
    finish(control)
    assert control.seen
    assert control.completed_s == clock.wall_s()
