"""The subscriber, case by case, and its table: complete, reachable, and doing what it says."""

import pytest

from resync.kvsync.publisher import Publisher
from resync.kvsync.records import AllBlocksCleared, Batch, BlockStored, Message
from resync.kvsync.subscriber import (
    Apply,
    AskReplay,
    Degrade,
    Effect,
    Purge,
    State,
    Subscriber,
    SubscriberSettings,
)
from resync.kvsync.transitions import TRANSITIONS, Action, Input

pytestmark = pytest.mark.unit


def stream(count: int, life: int = 0) -> list[Message]:
    publisher = Publisher()
    return [
        publisher.publish(Batch(float(life), (BlockStored((n,), None, (1, 2), 2),))) for n in range(count)
    ]


def done(effects: tuple[Effect, ...]) -> list[object]:
    """Effects in short: numbers applied, ("ask", start), "purge", "degrade"."""
    short: list[object] = []
    for effect in effects:
        match effect:
            case Apply(seq=seq):
                short.append(seq)
            case AskReplay(start_seq=start):
                short.append(("ask", start))
            case Purge():
                short.append("purge")
            case Degrade():
                short.append("degrade")
    return short


def live_after(messages: list[Message], settings: SubscriberSettings | None = None) -> Subscriber:
    """A subscriber that has had these and is live."""
    subscriber = Subscriber(settings or SubscriberSettings())
    subscriber.connected(0.0)
    subscriber.replay_ended(0.0)
    subscriber.replay_ended(0.0)
    for message in messages:
        subscriber.live(message, 0.0)
    assert (subscriber.state, subscriber.exact) == (State.LIVE, True)
    assert subscriber.applied_seq == len(messages) - 1
    return subscriber


def test_the_table_says_something_about_every_input_in_every_state() -> None:
    assert set(TRANSITIONS) == set(State)
    for state, row in TRANSITIONS.items():
        assert set(row) == set(Input), state
    assert {action for row in TRANSITIONS.values() for action, _ in row.values()} == set(Action)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.CONNECTING}
    for _ in State:
        reached |= {target for state in reached for _, target in TRANSITIONS[state].values()}
    assert reached == set(State)
    assert all(any(target != state for _, target in row.values()) for state, row in TRANSITIONS.items())


def test_after_a_connect_two_complete_answers_are_wanted() -> None:
    one, two, three = stream(3)
    subscriber = Subscriber()
    assert done(subscriber.connected(0.0)) == [("ask", 0)]
    assert done(subscriber.replayed(one, 0.0)) == [0]
    assert done(subscriber.replay_ended(0.0)) == [("ask", 0)]
    assert subscriber.state is State.REPLAYING
    assert done(subscriber.live(three, 0.0)) == []
    assert done(subscriber.replayed(one, 0.0)) == []
    assert done(subscriber.replayed(two, 0.0)) == [
        1
    ]  # lost to a subscription that was younger than the first
    assert done(subscriber.replayed(three, 0.0)) == [2]
    assert done(subscriber.replay_ended(0.0)) == [("ask", 2)]  # it brought news: once more
    subscriber.replayed(three, 0.0)
    assert done(subscriber.replay_ended(0.0)) == []
    assert (subscriber.state, subscriber.exact, subscriber.applied_seq) == (State.LIVE, True, 2)


def test_the_first_live_number_above_0_with_nothing_known_is_a_gap() -> None:
    messages = stream(3)
    subscriber = live_after([])
    assert done(subscriber.live(messages[2], 0.0)) == [("ask", 0)]
    assert subscriber.state is State.GAP
    assert done(subscriber.replayed(messages[0], 0.0)) == [0]
    assert done(subscriber.replayed(messages[1], 0.0)) == [1]
    assert done(subscriber.replayed(messages[2], 0.0)) == [2]
    assert done(subscriber.replay_ended(0.0)) == []
    statistics = subscriber.statistics()
    assert (statistics.gaps, statistics.missed, statistics.gaps_repaired) == (1, 2, 1)


def test_a_repeat_is_counted_and_not_applied() -> None:
    messages = stream(2)
    subscriber = live_after(messages)
    assert done(subscriber.live(messages[0], 0.0)) == []
    assert subscriber.statistics().duplicates == 1


def test_a_number_that_falls_back_is_a_restart() -> None:
    subscriber = live_after(stream(5))
    new = stream(2, life=1)
    assert done(subscriber.live(new[0], 0.0)) == ["purge", ("ask", 0)]
    assert (subscriber.state, subscriber.applied_seq) == (State.RESYNCING, -1)
    assert done(subscriber.replayed(new[0], 0.0)) == [0]
    assert done(subscriber.replayed(new[1], 0.0)) == [1]
    subscriber.replay_ended(0.0)
    assert (subscriber.exact, subscriber.statistics().restarts) == (True, 1)


def test_a_restart_past_the_old_number_shows_by_the_overlap() -> None:
    subscriber = live_after(stream(3))
    subscriber.disconnected(0.0)
    new = stream(6, life=1)
    assert done(subscriber.connected(0.0)) == [("ask", 2)]
    assert done(subscriber.replayed(new[2], 0.0)) == ["purge", ("ask", 0)]


def test_a_restart_to_a_shorter_stream_shows_by_empty_answers() -> None:
    subscriber = live_after(stream(3))
    subscriber.disconnected(0.0)
    subscriber.connected(0.0)
    assert done(subscriber.replay_ended(0.0)) == [("ask", 2)]
    assert done(subscriber.replay_ended(0.0)) == [("ask", 2)]
    assert done(subscriber.replay_ended(0.0)) == ["purge", ("ask", 0)]
    subscriber.replay_ended(0.0)
    subscriber.replay_ended(0.0)
    assert (subscriber.state, subscriber.exact) == (State.LIVE, True)


def test_the_end_marker_does_not_make_an_answer_complete() -> None:
    messages = stream(5)
    subscriber = live_after(messages[:1])
    assert done(subscriber.live(messages[4], 0.0)) == [("ask", 0)]
    subscriber.replayed(messages[0], 0.0)
    assert done(subscriber.replayed(messages[1], 0.0)) == [1]
    assert done(subscriber.replayed(messages[3], 0.0)) == []
    assert done(subscriber.replay_ended(0.0)) == [("ask", 1)]
    subscriber.replayed(messages[1], 0.0)
    assert done(subscriber.replayed(messages[2], 0.0)) == [2]
    assert done(subscriber.replay_ended(0.0)) == [3, 4]


def test_an_evicted_beginning_is_given_up_after_the_tries_and_not_retried() -> None:
    messages = stream(6)
    subscriber = Subscriber(SubscriberSettings(tries_limit=2))
    subscriber.connected(0.0)
    for _ in range(2):
        for message in messages[3:]:
            assert done(subscriber.replayed(message, 0.0)) == []
        last = subscriber.replay_ended(0.0)
    assert done(last) == ["purge", 3, 4, 5, "degrade"]
    assert (subscriber.state, subscriber.exact, subscriber.wake_at_s) == (State.LIVE, False, None)
    cleared = Publisher()
    for _ in range(6):
        cleared.publish(Batch(0.0, (AllBlocksCleared(),)))
    assert done(subscriber.live(cleared.publish(Batch(0.0, (AllBlocksCleared(),))), 0.0)) == [6]
    assert subscriber.exact


def test_silence_is_given_up_and_tried_again_without_touching_what_is_there() -> None:
    messages = stream(3)
    subscriber = Subscriber(SubscriberSettings(tries_limit=1, retry_min_s=10.0, retry_max_s=15.0))
    subscriber.connected(0.0)
    assert done(subscriber.replay_timed_out(5.0)) == ["purge", "degrade"]
    assert subscriber.wake_at_s == 15.0
    assert done(subscriber.tick(14.9)) == []
    assert done(subscriber.tick(15.0)) == [("ask", 0)]
    assert subscriber.state is State.LIVE
    assert done(subscriber.replay_timed_out(20.0)) == []
    assert subscriber.wake_at_s == 35.0  # doubled, up to the limit
    subscriber.tick(35.0)
    assert done(subscriber.replayed(messages[0], 35.0)) == ["purge", 0]
    assert done(subscriber.replayed(messages[1], 35.0)) == [1]
    subscriber.replay_ended(35.0)
    assert (subscriber.exact, subscriber.applied_seq, subscriber.statistics().purges) == (True, 1, 2)


def test_poison_uses_up_its_number_and_takes_the_exactness() -> None:
    messages = stream(3)
    subscriber = live_after(messages[:1])
    assert done(subscriber.live(Message(b"", 1, b"\xc1"), 0.0)) == ["degrade"]
    assert (subscriber.applied_seq, subscriber.exact) == (1, False)
    assert done(subscriber.live(messages[2], 0.0)) == [2]
    assert subscriber.statistics().decode_errors == 1


def test_what_is_held_back_is_bounded() -> None:
    messages = stream(10)
    subscriber = live_after(messages[:1], SubscriberSettings(held_limit=3))
    for message in messages[3:]:
        subscriber.live(message, 0.0)
    assert (subscriber.statistics().held_back, subscriber.statistics().held_dropped) == (3, 4)
    for message in messages[:6]:
        subscriber.replayed(message, 0.0)
    assert done(subscriber.replay_ended(0.0)) == [("ask", 5)]  # the refused ones are known to be missing


def test_nothing_is_applied_while_there_is_no_connection() -> None:
    messages = stream(2)
    subscriber = live_after(messages[:1])
    subscriber.disconnected(0.0)
    assert done(subscriber.live(messages[1], 0.0)) == []
    assert done(subscriber.replayed(messages[1], 0.0)) == []
    assert (subscriber.state, subscriber.exact, subscriber.applied_seq) == (State.CONNECTING, False, 0)
