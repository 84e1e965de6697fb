"""The schedule of retransmissions, and the faults that lean on it, in virtual time."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resync.lab.link.dice import seeded
from resync.lab.link.faults import cuts, faults_of
from resync.lab.link.faults.bandwidth import Bandwidth, Bucket
from resync.lab.link.faults.loss import Loss
from resync.lab.link.faults.partition import Partition, Unacknowledged
from resync.lab.link.lane import Lane
from resync.lab.link.retransmission import RTO_MAX_S, next_try_s, pause_s
from resync.lab.link.rules import Rule


def test_pauses_double_up_to_two_minutes() -> None:
    pauses = [pause_s(number) for number in range(14)]
    assert pauses[:5] == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert all(later == pytest.approx(min(2 * earlier, RTO_MAX_S)) for earlier, later in pairwise(pauses))
    assert pauses[-3:] == [120.0, 120.0, 120.0]


# Now is a try itself, by one way of adding its pauses and not by another.
@example(sent_s=1024.0, waited_s=0.6)
@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_the_next_try_is_after_now_and_no_later_than_one_pause(sent_s: float, waited_s: float) -> None:
    now_s = sent_s + waited_s
    found_s = next_try_s(sent_s, now_s)
    assert found_s > now_s
    assert found_s - now_s <= min(max(waited_s, 0.0) + 0.4, RTO_MAX_S) + 1e-6


@pytest.mark.parametrize(
    ("cut_s", "late_s"),
    # 0.2 * (2^n - 1) minus the cut; on a kernel, whose pauses hold the round trip: 1.8, 7.0 and 47.5 s.
    [(5.0, 1.2), (20.0, 5.4), (60.0, 42.2)],
)
def test_a_healed_partition_is_late_by_what_the_kernel_would_be(cut_s: float, late_s: float) -> None:
    lane = Lane(seeded(1))
    lane.set_faults([Partition()], 100.0)
    lane.push(b"first", 100.0)
    lane.push(b"second", 100.0 + cut_s / 2)
    assert lane.pop_due(100.0 + cut_s) is None
    lane.set_faults([], 100.0 + cut_s)
    lane.push(b"new", 100.0 + cut_s)
    assert lane.next_release_s == pytest.approx(100.0 + cut_s + late_s)
    assert [lane.pop_due(lane.next_release_s) for _ in range(3)] == [b"first", b"second", b"new"]
    assert lane.clear


def test_a_partition_healed_at_one_end_holds_until_it_is_healed_at_the_other() -> None:
    lane = Lane(seeded(1))
    lane.set_faults([Partition()], 0.0)
    lane.push(b"head", 0.0)
    lane.set_faults([Partition(), Partition()], 0.1)
    lane.set_faults([Partition()], 2.0)
    assert lane.pop_due(1e6) is None
    lane.push(b"tail", 2.9)
    lane.set_faults([], 3.1)
    assert lane.next_release_s == pytest.approx(6.2)


def test_a_delay_beside_a_partition_is_felt_after_it() -> None:
    lane = Lane(seeded(1))
    (slow,) = faults_of(Rule("netem", {"time": "50ms"}))
    lane.set_faults([slow, Partition()], 0.0)
    lane.push(b"x", 0.0)
    lane.set_faults([slow], 1.0)
    assert lane.next_release_s == pytest.approx(1.4 + 0.05)


def test_what_was_on_the_wire_arrives_and_an_idle_stream_is_not_late() -> None:
    lane = Lane(seeded(1))
    (slow,) = faults_of(Rule("netem", {"time": "50ms"}))
    lane.set_faults([slow], 0.0)
    lane.push(b"early", 0.0)
    lane.set_faults([slow, Partition()], 0.01)
    assert lane.pop_due(0.05) == b"early"
    lane.set_faults([], 7.0)
    assert lane.clear


def test_without_acknowledgements_data_arrives_until_the_first_retransmission_is_due() -> None:
    lane = Lane(seeded(1))
    lane.set_faults([Unacknowledged()], 0.0)
    lane.push(b"a", 1.0)
    lane.push(b"b", 1.19)
    lane.push(b"c", 1.2)
    assert [lane.pop_due(1.2), lane.pop_due(1.2), lane.pop_due(1e6)] == [b"a", b"b", None]
    lane.set_faults([], 2.0)
    assert lane.next_release_s == pytest.approx(1.0 + 1.4)


def test_a_rule_beside_it_does_not_make_a_fault_forget() -> None:
    lane = Lane(seeded(1))
    (slow,) = faults_of(Rule("netem", {"time": "50ms"}))
    lane.set_faults([Unacknowledged()], 0.0)
    lane.push(b"a", 1.0)
    assert lane.pop_due(1.0) == b"a"
    lane.set_faults([slow, Unacknowledged()], 1.5)
    lane.push(b"b", 2.0)
    assert lane.pop_due(1e6) is None


def test_a_cut_takes_the_acknowledgements_of_the_other_way_and_may_reset() -> None:
    drop, reset = (faults_of(Rule(kind)) for kind in ("drop", "reset"))
    assert [cut.resets for cut in cuts(drop + reset)] == [False, True]
    assert [cut.unacknowledged() for cut in cuts(drop)] == [Unacknowledged()]
    assert not cuts(faults_of(Rule("netem", {"time": "1ms", "loss": 100.0})))


@given(st.floats(0.05, 0.9), st.integers(0, 10**6))
def test_loss_delays_the_share_it_names_and_keeps_the_order(share: float, seed: int) -> None:
    lane = Lane(seeded(seed))
    lane.set_faults([Loss(share)], 0.0)
    lost = 0
    for number in range(400):
        sent_s = number * 1e6
        lane.push(b"x", sent_s)
        stall_s = lane.next_release_s - sent_s
        assert stall_s == 0 or stall_s >= 0.2 - 1e-6
        lost += stall_s > 0
        lane.pop_due(lane.next_release_s)
    assert abs(lost / 400 - share) < 0.15


def test_full_loss_holds_and_lets_go_at_the_next_retransmission() -> None:
    (all_lost,) = faults_of(Rule("netem", {"loss": 100.0}))
    lane = Lane(seeded(1))
    lane.set_faults([all_lost], 0.0)
    lane.push(b"x", 0.0)
    assert lane.pop_due(600.0) is None
    lane.set_faults([], 5.0)
    assert lane.next_release_s == pytest.approx(6.2)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1mbps", 1e6), ("8mbit", 1e6), ("800bit", 100.0), ("2kbps", 2000.0), ("1gbit", 125e6), ("1tbps", 1e12)],
)
def test_a_rate_is_read_as_tc_does(text: str, rate: float) -> None:
    (found,) = faults_of(Rule("tbf", {"rate": text, "buffer": 10, "limit": 1}))
    assert found == Bandwidth(rate, 10.0, Bucket(rate, 10.0))


@pytest.mark.parametrize("text", ["1mb", "0mbit", "-1bit", "1.5mbit", "mbps", "None"])
def test_another_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate must be"):
        faults_of(Rule("tbf", {"rate": text, "buffer": 10}))


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 1)), min_size=1, max_size=40))
def test_a_bucket_never_lets_out_more_than_its_rate_and_one_burst(chunks: list[tuple[int, float]]) -> None:
    bucket, now_s, out = Bucket(1000.0, 500.0), 0.0, []
    for size, pause in chunks:
        now_s += pause
        out.append((bucket.leave_s(size, now_s), size))
        assert out[-1][0] >= now_s
    for index, (start_s, _) in enumerate(out):
        for end in range(index, len(out)):
            after = sum(size for _, size in out[index + 1 : end + 1])
            assert after <= 1000.0 * (out[end][0] - start_s) + 500.0 + 1e-3


def test_two_streams_share_one_bucket_and_its_queue_goes_with_the_rule() -> None:
    (narrow,) = faults_of(Rule("tbf", {"rate": "1kbps", "buffer": 100}))
    one, other = Lane(seeded(1)), Lane(seeded(2))
    for lane in (one, other):
        lane.set_faults([narrow], 0.0)
        lane.push(b"x" * 1000, 0.0)
    assert [one.next_release_s, other.next_release_s] == [pytest.approx(0.9), pytest.approx(1.9)]
    other.set_faults([], 1.0)
    assert other.pop_due(1.0) == b"x" * 1000
