"""The scheduling of chunks, with virtual time."""

from dataclasses import dataclass, replace
from math import inf
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resync.lab.link.chunks import Chunk, End
from resync.lab.link.dice import seeded
from resync.lab.link.faults import faults_of
from resync.lab.link.faults.bandwidth import Bandwidth, Bucket
from resync.lab.link.faults.delay import Delay
from resync.lab.link.faults.loss import Loss
from resync.lab.link.faults.partition import Partition, Unacknowledged
from resync.lab.link.lane import Lane
from resync.lab.link.rules import Rule

delays = st.builds(Delay, st.floats(0, 0.2), st.floats(0, 0.1), st.floats(0, 1))
losses = st.builds(Loss, st.floats(0, 1), st.floats(0, 1))
partitions = st.sampled_from([Partition(), Unacknowledged()])
rates = st.builds(lambda rate: Bandwidth(rate, 4.0, Bucket(rate, 4.0)), st.floats(1, 1e3))
faults = st.one_of(delays, losses, partitions, rates)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("wait"), st.floats(0, 0.3)),
        st.tuples(st.just("rules"), st.lists(faults, max_size=3)),
    ),
    max_size=60,
)


@given(steps, st.integers(0, 10**6))
def test_nothing_is_lost_or_reordered_or_early_whatever_the_rules_do(
    plan: list[tuple[str, object]], seed: int
) -> None:
    lane, now_s = Lane(seeded(seed)), 0.0
    pushed, popped = b"", b""
    for kind, value in plan:
        if kind == "push":
            assert isinstance(value, bytes)
            lane.push(value, now_s)
            pushed += value
        elif kind == "wait":
            assert isinstance(value, float)
            now_s += value
        else:
            assert isinstance(value, list)
            lane.set_faults(value, now_s)
        while (payload := lane.pop_due(now_s)) is not None:
            assert isinstance(payload, bytes)
            popped += payload
        assert pushed.startswith(popped)
        assert lane.queued_bytes == len(pushed) - len(popped)
        assert lane.next_release_s > now_s
    lane.set_faults([], now_s)
    # After a whole minute at most: nothing here is held longer than that before it is healed.
    while (payload := lane.pop_due(now_s + 60.0)) is not None:
        assert isinstance(payload, bytes)
        popped += payload
    assert popped == pushed


# To be added up as the lane does: in another order it is one rounding off.
@example(delay_s=0.8284279525168908, share=3.852934768241205e-15, seed=0, count=16)
@given(st.floats(0.01, 1), st.floats(0, 0.5), st.integers(0, 10**6), st.integers(1, 50))
def test_a_chunk_leaves_within_the_jitter_of_its_own_time(
    delay_s: float, share: float, seed: int, count: int
) -> None:
    jitter_s = delay_s * share
    lane = Lane(seeded(seed))
    lane.set_faults([Delay(delay_s, jitter_s)], 0.0)
    for number in range(count):
        lane.push(b"x", float(number) * 10)
        release_s = lane.next_release_s
        assert number * 10 + (delay_s - jitter_s) <= release_s <= number * 10 + (delay_s + jitter_s)
        assert lane.pop_due(release_s) == b"x"


def test_the_same_seed_draws_the_same_jitter() -> None:
    def releases(seed: int) -> list[float]:
        lane = Lane(seeded(seed))
        lane.set_faults([Delay(0.05, 0.01)], 0.0)
        found = []
        for number in range(20):
            lane.push(b"x", float(number))
            found.append(lane.next_release_s)
            lane.pop_due(inf)
        return found

    assert releases(7) == releases(7)
    assert releases(7) != releases(8)


def test_full_correlation_repeats_the_first_draw() -> None:
    lane = Lane(seeded(1))
    lane.set_faults([Delay(0.05, 0.01, correlation=1.0)], 0.0)
    assert {round(lane.transit_s(0.0), 9) for _ in range(10)} == {0.05}


def test_healing_lets_waiting_bytes_out_at_their_time_and_later_ones_behind_them() -> None:
    lane = Lane(seeded(1))
    lane.set_faults([Delay(0.05)], 0.0)
    lane.push(b"slow", 1.0)
    lane.set_faults([], 1.01)
    lane.push(b"fast", 1.02)
    assert lane.pop_due(1.049) is None
    assert [lane.pop_due(1.051), lane.pop_due(1.051)] == [b"slow", b"fast"]
    assert lane.clear


def test_an_end_waits_behind_the_bytes_before_it() -> None:
    lane = Lane(seeded(1))
    lane.set_faults([Delay(0.05)], 0.0)
    lane.push(b"last words", 1.0)
    lane.push(End.EOF, 1.0)
    assert lane.pop_due(1.04) is None
    assert [lane.pop_due(1.06), lane.pop_due(1.06)] == [b"last words", End.EOF]


@dataclass(frozen=True)
class Cut:
    """A fault that holds everything: the whole of it is this class."""

    def begin(self, dice: Random) -> "Cut":
        assert isinstance(dice, Random)
        return self

    def apply(self, chunk: Chunk) -> Chunk:
        return replace(chunk, release_s=inf)

    def lift(self, chunk: Chunk, now_s: float) -> float:
        assert chunk.release_s == inf
        return now_s + 0.2


def test_a_fault_may_hold_bytes_until_it_is_lifted_and_say_when_they_go_then() -> None:
    lane = Lane(seeded(1))
    lane.set_faults([Cut()], 0.0)
    lane.push(b"held", 1.0)
    assert lane.pop_due(1e9) is None
    lane.set_faults([], 5.0)
    assert lane.pop_due(5.19) is None
    assert lane.pop_due(5.21) == b"held"


def test_the_link_refuses_what_no_fault_file_understands() -> None:
    with pytest.raises(Exception, match="cannot do netem corrupt yet"):
        faults_of(Rule("netem", {"corrupt": 25.0}))
    with pytest.raises(Exception, match="cannot do netem corrupt yet"):
        faults_of(Rule("netem", {"time": "50ms", "corrupt": 25.0}))
    with pytest.raises(Exception, match="cannot do tbf peak_rate yet"):
        faults_of(Rule("tbf", {"rate": "1mbit", "buffer": 1, "peak_rate": 1}))
    with pytest.raises(ValueError, match="5m"):
        faults_of(Rule("netem", {"time": "5m"}))
    assert faults_of(Rule("netem", {"time": "50ms", "jitter": "10ms"})) == (Delay(0.05, 0.01),)
