"""The subscriber, case by case, and its table: complete, reachable, and doing what it says."""

import msgspec
import pytest

from resync.kvsync import handlers
from resync.kvsync.effects import Apply, AskReplay, Degrade, Effect, Purge
from resync.kvsync.index import PrefixIndex
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import AllBlocksCleared, Batch, BlockStored, Message, ReplayEnd
from resync.kvsync.subscriber import Subscriber, SubscriberSettings
from resync.kvsync.transitions import TRANSITIONS, Action, Input, State
from resync.testing import Answer, answers

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


@pytest.mark.scenario(
    "event-flow/connected-while-connecting",
    "event-flow/live-next-while-awaiting",
    "event-flow/replay-next-while-awaiting",
    "event-flow/replay-known-while-awaiting",
    "event-flow/answer-complete-while-awaiting",
    "event-flow/answer-unconfirmed-while-awaiting",
)
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


@pytest.mark.scenario("errors/live-ahead-while-live")
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


@pytest.mark.scenario("errors/live-known-while-live")
def test_a_repeat_is_counted_and_not_applied() -> None:
    messages = stream(2)
    subscriber = live_after(messages)
    assert done(subscriber.live(messages[0], 0.0)) == []
    assert subscriber.statistics().duplicates == 1


@pytest.mark.scenario("errors/live-restarted-while-live")
def test_a_number_that_falls_back_is_a_restart() -> None:
    subscriber = live_after(stream(5))
    new = stream(2, life=1)
    assert done(subscriber.live(new[0], 0.0)) == ["purge", ("ask", 0)]
    assert (subscriber.state, subscriber.applied_seq) == (State.RESYNCING, -1)
    assert done(subscriber.replayed(new[0], 0.0)) == [0]
    assert done(subscriber.replayed(new[1], 0.0)) == [1]
    subscriber.replay_ended(0.0)
    assert (subscriber.exact, subscriber.statistics().restarts) == (True, 1)


@pytest.mark.scenario("errors/replay-restarted-while-awaiting")
def test_a_restart_past_the_old_number_shows_by_the_overlap() -> None:
    subscriber = live_after(stream(3))
    subscriber.disconnected(0.0)
    new = stream(6, life=1)
    assert done(subscriber.connected(0.0)) == [("ask", 2)]
    assert done(subscriber.replayed(new[2], 0.0)) == ["purge", ("ask", 0)]


@pytest.mark.scenario("errors/answer-empty-while-awaiting")
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


@pytest.mark.scenario("errors/replay-ahead-while-awaiting", "errors/answer-incomplete-while-awaiting")
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


@pytest.mark.scenario(
    "errors/answer-exhausted-while-awaiting",
    "errors/retry-due-while-live",
    "errors/retry-answered-while-live",
)
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


@pytest.mark.scenario("errors/unreadable-batch")
def test_poison_uses_up_its_number_and_takes_the_exactness() -> None:
    messages = stream(3)
    subscriber = live_after(messages[:1])
    assert done(subscriber.live(Message(b"", 1, b"\xc1"), 0.0)) == ["degrade"]
    assert (subscriber.applied_seq, subscriber.exact) == (1, False)
    assert done(subscriber.live(messages[2], 0.0)) == [2]
    assert subscriber.statistics().decode_errors == 1


def test_the_sentence_names_the_event_that_cannot_be_read_and_no_unknown_one_before_it() -> None:
    subscriber = live_after([])
    payload = msgspec.msgpack.encode([0.0, [["HeartBeat"], ["BlockRemoved", ["x"]]], 0])
    (applied, degraded) = subscriber.live(Message(b"", 0, payload), 0.0)
    assert isinstance(applied, Apply)
    assert isinstance(degraded, Degrade)
    assert degraded.reason.startswith("batch 0 has events that cannot be read: BlockRemoved: ")


@pytest.mark.scenario("errors/live-ahead-while-awaiting")
def test_what_is_held_back_is_bounded() -> None:
    messages = stream(10)
    subscriber = live_after(messages[:1], SubscriberSettings(held_limit=3))
    for message in messages[3:]:
        subscriber.live(message, 0.0)
    assert (subscriber.statistics().held_back, subscriber.statistics().held_dropped) == (3, 4)
    for message in messages[:6]:
        subscriber.replayed(message, 0.0)
    assert done(subscriber.replay_ended(0.0)) == [("ask", 5)]  # the refused ones are known to be missing


@pytest.mark.scenario("errors/disconnected-while-live")
def test_nothing_is_applied_while_there_is_no_connection() -> None:
    messages = stream(2)
    subscriber = live_after(messages[:1])
    subscriber.disconnected(0.0)
    assert done(subscriber.live(messages[1], 0.0)) == []
    assert done(subscriber.replayed(messages[1], 0.0)) == []
    assert (subscriber.state, subscriber.exact, subscriber.applied_seq) == (State.CONNECTING, False, 0)


# --- while a replay is in


@pytest.mark.scenario("event-flow/connected-while-live", "event-flow/connected-while-awaiting")
def test_saying_connected_again_asks_again_and_takes_nothing_back() -> None:
    messages = stream(3)
    subscriber = live_after(messages[:2])
    for _ in range(2):
        assert done(subscriber.connected(0.0)) == [("ask", 1)]
        assert (subscriber.state, subscriber.exact) == (State.REPLAYING, False)
    assert done(subscriber.replayed(messages[1], 0.0)) == []
    assert done(subscriber.replayed(messages[2], 0.0)) == [2]


@pytest.mark.scenario("errors/disconnected-while-awaiting")
def test_what_was_held_back_ends_with_its_connection() -> None:
    messages = stream(3)
    subscriber = live_after(messages[:1])
    subscriber.live(messages[2], 0.0)
    assert subscriber.statistics().held_back == 1
    assert done(subscriber.disconnected(0.0)) == []
    assert (subscriber.state, subscriber.statistics().held_back) == (State.CONNECTING, 0)
    assert done(subscriber.connected(0.0)) == [("ask", 0)]


@pytest.mark.scenario("errors/live-known-while-awaiting")
def test_while_a_replay_is_in_a_repeat_is_counted_and_what_is_held_back_is_held_once() -> None:
    messages = stream(3)
    subscriber = live_after(messages[:1])
    subscriber.live(messages[2], 0.0)
    assert done(subscriber.live(messages[0], 0.0)) == []
    assert done(subscriber.live(messages[2], 0.0)) == []
    statistics = subscriber.statistics()
    assert (statistics.duplicates, statistics.held_back) == (1, 1)


@pytest.mark.scenario("errors/live-restarted-while-awaiting")
def test_a_restart_while_a_replay_is_in_ends_the_old_life_at_once() -> None:
    messages = stream(3)
    subscriber = live_after(messages[:1])
    subscriber.live(messages[2], 0.0)
    assert done(subscriber.live(stream(1, life=1)[0], 0.0)) == ["purge", ("ask", 0)]
    assert (subscriber.state, subscriber.applied_seq) == (State.RESYNCING, -1)


# --- answers as they come


def answered(subscriber: Subscriber, right: list[Message], answer: Answer) -> list[object]:
    """What an answer that should have been `right` makes it do; without an end marker it times out."""
    short: list[object] = []
    for one in answer([*right, ReplayEnd()]):
        if isinstance(one, ReplayEnd):
            return short + done(subscriber.replay_ended(0.0))
        short += done(subscriber.replayed(one, 0.0))
    return short + done(subscriber.replay_timed_out(0.0))


INCOMPLETE: dict[str, tuple[Answer, list[object]]] = {
    "silence": (answers.silence, [("ask", 0)]),
    "end-missing": (answers.without_end, [1, 2, 3, ("ask", 3)]),
    "end-early": (answers.early_end(after=2), [1, ("ask", 1)]),
    "cut-short": (answers.cut_short(after=2), [1, ("ask", 1)]),
    "hole": (answers.hole(at=2), [1, ("ask", 1)]),
    "truncated": (answers.truncated(by=2), [("ask", 0)]),
}


@pytest.mark.parametrize("name", INCOMPLETE)
@pytest.mark.scenario("errors/answer-incomplete-while-awaiting")
def test_an_answer_that_lacks_something_is_applied_as_far_as_it_goes_and_asked_for_again(name: str) -> None:
    answer, wanted = INCOMPLETE[name]
    messages = stream(4)
    subscriber = live_after(messages[:1])
    subscriber.live(messages[3], 0.0)
    assert answered(subscriber, messages, answer) == wanted
    assert (subscriber.state, subscriber.statistics().purges) == (State.GAP, 0)
    answered(subscriber, messages, answers.complete)
    assert (subscriber.exact, subscriber.applied_seq) == (True, 3)


def test_an_answer_that_only_closes_the_hole_is_completed_by_what_was_held_back() -> None:
    messages = stream(4)
    subscriber = live_after(messages[:1])
    subscriber.live(messages[3], 0.0)
    assert answered(subscriber, messages, answers.cut_short(after=3)) == [1, 2, 3]
    assert subscriber.exact


def test_what_stays_incomplete_is_purged_and_degraded_after_the_tries() -> None:
    messages = stream(4)
    subscriber = live_after(messages[:1], SubscriberSettings(tries_limit=2))
    subscriber.live(messages[3], 0.0)
    assert answered(subscriber, messages, answers.hole(at=1)) == [("ask", 0)]
    assert answered(subscriber, messages, answers.hole(at=1)) == ["purge", 2, 3, "degrade"]
    assert subscriber.statistics().degraded_reason == "batches 1 to 3 came incomplete 2 times"
    assert (subscriber.state, subscriber.exact, subscriber.wake_at_s) == (State.LIVE, False, 30.0)


def test_a_clear_among_what_was_held_back_makes_giving_up_exact() -> None:
    publisher = Publisher()
    messages = [publisher.publish(Batch(0.0, (AllBlocksCleared(),))) for _ in range(4)]
    subscriber = live_after([], SubscriberSettings(tries_limit=1))
    subscriber.live(messages[3], 0.0)
    assert answered(subscriber, messages, answers.silence) == ["purge", 3]
    assert subscriber.exact
    assert (subscriber.wake_at_s, subscriber.statistics().degradations) == (None, 0)


@pytest.mark.scenario("errors/retry-due-while-live", "errors/retry-empty-while-live")
def test_a_retry_that_finds_an_empty_ring_makes_exact() -> None:
    subscriber = Subscriber(SubscriberSettings(tries_limit=1, retry_min_s=10.0))
    subscriber.connected(0.0)
    assert done(subscriber.replay_timed_out(0.0)) == ["purge", "degrade"]
    assert done(subscriber.tick(10.0)) == [("ask", 0)]
    assert answered(subscriber, [], answers.complete) == ["purge"]
    assert (subscriber.state, subscriber.exact, subscriber.wake_at_s) == (State.LIVE, True, None)


def test_a_retry_without_an_answer_where_batches_are_known_is_repeated() -> None:
    """A ring of no length answers everything with the end marker; that is no reason to call nothing exact."""
    messages = stream(3)
    subscriber = live_after([], SubscriberSettings(tries_limit=1, retry_min_s=10.0))
    subscriber.live(messages[2], 0.0)
    assert answered(subscriber, [], answers.complete) == ["purge", 2, "degrade"]
    assert done(subscriber.tick(10.0)) == [("ask", 0)]
    assert answered(subscriber, [], answers.complete) == []
    assert (subscriber.state, subscriber.exact, subscriber.applied_seq) == (State.LIVE, False, 2)
    assert subscriber.wake_at_s is not None


def test_a_retry_without_the_beginning_is_the_last_one() -> None:
    messages = stream(3)
    subscriber = Subscriber(SubscriberSettings(tries_limit=1, retry_min_s=10.0))
    subscriber.connected(0.0)
    subscriber.replay_timed_out(0.0)
    subscriber.tick(10.0)
    assert answered(subscriber, messages, answers.truncated(by=1)) == []
    assert (subscriber.state, subscriber.exact, subscriber.wake_at_s) == (State.LIVE, False, None)


def test_a_restart_with_the_same_hashes_is_a_restart_all_the_same() -> None:
    """From vLLM 0.29 on the seed of the hashes is fixed: only the time in the batch tells the lives apart."""
    subscriber = live_after(stream(5))
    assert done(subscriber.live(stream(1, life=1)[0], 0.0)) == ["purge", ("ask", 0)]


def test_a_clear_that_comes_late_leaves_what_was_stored_behind_it() -> None:
    """Published in the batch of the next request, before that one's blocks."""
    publisher, index = Publisher(), PrefixIndex(block_size=2)
    before, after = (BlockStored((block_hash,), None, (1, 2), 2) for block_hash in (1, 2))
    subscriber = live_after([])
    for events in ((before,), (AllBlocksCleared(), after)):
        for effect in subscriber.live(publisher.publish(Batch(0.0, events)), 0.0):
            assert isinstance(effect, Apply)
            handlers.apply_batch(index, "pod", effect.batch)
    assert [entry.hash for entry in index.entries("pod")] == [2]


# --- the tail

PATIENT = SubscriberSettings(tail_patience_s=5.0, tries_limit=2)


@pytest.mark.scenario("errors/tail-overdue-while-live")
def test_a_tail_that_stays_missing_is_asked_for_after_the_patience() -> None:
    messages = stream(3)
    subscriber = live_after(messages[:1], PATIENT)
    assert done(subscriber.published(2, 10.0)) == []
    assert subscriber.wake_at_s == 15.0
    assert done(subscriber.published(2, 14.9)) == []
    assert (subscriber.state, subscriber.exact) == (State.LIVE, True)
    assert done(subscriber.tick(15.0)) == [("ask", 0)]
    assert (subscriber.state, subscriber.exact) == (State.GAP, False)
    assert answered(subscriber, messages, answers.complete) == [1, 2]
    statistics = subscriber.statistics()
    assert (statistics.gaps, statistics.missed, statistics.gaps_repaired) == (1, 2, 1)
    assert subscriber.exact


def test_a_claim_that_is_met_in_time_costs_nothing() -> None:
    messages = stream(2)
    subscriber = live_after(messages[:1], PATIENT)
    subscriber.published(1, 10.0)
    subscriber.live(messages[1], 11.0)
    assert done(subscriber.tick(20.0)) == []
    assert done(subscriber.published(1, 21.0)) == []
    assert subscriber.wake_at_s is None


def test_a_busy_stream_that_is_always_a_little_behind_lacks_nothing() -> None:
    messages = stream(20)
    subscriber = live_after(messages[:1], PATIENT)
    for at_s, message in enumerate(messages[1:], 1):
        assert done(subscriber.published(message.seq + 1, float(at_s))) == []
        assert done(subscriber.live(message, float(at_s))) == [message.seq]


def test_a_lower_claim_is_that_of_another_life() -> None:
    subscriber = live_after(stream(1), PATIENT)
    subscriber.published(9, 0.0)
    subscriber.published(0, 1.0)
    assert done(subscriber.tick(20.0)) == []


def test_a_disconnect_forgets_the_claim_and_none_is_taken_before_the_next_connect() -> None:
    subscriber = live_after(stream(1), PATIENT)
    subscriber.published(9, 0.0)
    subscriber.disconnected(1.0)
    subscriber.published(9, 2.0)
    assert done(subscriber.tick(20.0)) == []
    assert subscriber.wake_at_s is None


def test_a_tail_that_no_answer_brings_is_given_up_and_said() -> None:
    messages = stream(1)
    subscriber = live_after(messages, PATIENT)
    subscriber.published(2, 0.0)
    assert done(subscriber.tick(5.0)) == [("ask", 0)]
    assert answered(subscriber, messages, answers.complete) == [("ask", 0)]
    assert answered(subscriber, messages, answers.complete) == ["purge", "degrade"]
    assert subscriber.statistics().degraded_reason == "batches 1 to 2 came incomplete 2 times"
    assert (subscriber.state, subscriber.exact) == (State.LIVE, False)
