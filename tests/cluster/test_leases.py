"""One run per namespace."""

import threading

import pytest

from resync.cluster import errors, leases
from resync.cluster.connecting import Cluster
from resync.kits.clocks import ManualClock
from resync.kits.waits import wait_until

pytestmark = pytest.mark.integration


def test_the_second_run_is_refused_and_told_who_and_until_when(cluster: Cluster, namespace: str) -> None:
    clock = ManualClock()
    first = leases.acquire(cluster, namespace, "r1", clock=clock)
    clock.advance(4)
    with pytest.raises(errors.LeaseHeldError, match=r"run r1 is at work .* 6 s") as raised:
        leases.acquire(cluster, namespace, "r2", clock=clock)
    assert (raised.value.holder, raised.value.expires_s) == ("r1", first.expires_s)


def test_renewing_keeps_it(cluster: Cluster, namespace: str) -> None:
    clock = ManualClock()
    held = leases.acquire(cluster, namespace, "r1", clock=clock)
    clock.advance(9)
    held = leases.renew(cluster, held, clock=clock)
    clock.advance(9)
    with pytest.raises(errors.LeaseHeldError):
        leases.acquire(cluster, namespace, "r2", clock=clock)
    assert held.renewed_s == clock.wall_s() - 9


def test_an_expired_one_is_taken_over_and_its_holder_is_told(cluster: Cluster, namespace: str) -> None:
    clock = ManualClock()
    first = leases.acquire(cluster, namespace, "r1", clock=clock)
    clock.advance(11)
    second = leases.acquire(cluster, namespace, "r2", clock=clock)
    assert second.taken_over_from == "r1"
    assert second.transitions == 1
    with pytest.raises(errors.LeaseLostError, match="now held by r2"):
        leases.renew(cluster, first, clock=clock)
    assert not leases.release(cluster, first), "what is not ours is not released"
    assert leases.release(cluster, second)
    with pytest.raises(errors.LeaseLostError, match="was deleted"):
        leases.renew(cluster, second, clock=clock)


def test_a_released_one_is_free_at_once(cluster: Cluster, namespace: str) -> None:
    assert leases.release(cluster, leases.acquire(cluster, namespace, "r1"))
    assert leases.acquire(cluster, namespace, "r2").taken_over_from is None


def test_a_renewal_whose_answer_was_lost_is_not_a_loss(cluster: Cluster, namespace: str) -> None:
    first = leases.acquire(cluster, namespace, "r1")
    leases.renew(cluster, first)
    assert leases.renew(cluster, first).resource_version != first.resource_version


def test_of_many_at_once_exactly_one_wins(cluster: Cluster, namespace: str) -> None:
    won: list[str] = []
    start = threading.Barrier(8)

    def run(name: str) -> None:
        start.wait(10)
        try:
            won.append(leases.acquire(cluster, namespace, name).holder)
        except errors.LeaseHeldError:
            return

    threads = [threading.Thread(target=run, args=(f"r{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_the_renewer_keeps_it_and_stops(cluster: Cluster, namespace: str) -> None:
    held = leases.acquire(cluster, namespace, "r1")
    before = set(threading.enumerate())
    with leases.LeaseRenewer(cluster, held, every_s=0.02) as renewer:
        wait_until(lambda: renewer.held.renewed_s > held.renewed_s, what="a renewal", timeout_s=5)
    assert renewer.lost is None
    assert set(threading.enumerate()) == before
    assert leases.release(cluster, renewer.held)


def test_the_renewer_tells_of_a_loss_once(cluster: Cluster, namespace: str) -> None:
    clock = ManualClock()
    held = leases.acquire(cluster, namespace, "r1", clock=clock)
    clock.advance(11)
    leases.acquire(cluster, namespace, "r2", clock=clock)
    told: list[errors.ClusterError] = []
    with leases.LeaseRenewer(cluster, held, every_s=0.02, on_lost=told.append, clock=clock) as renewer:
        wait_until(lambda: renewer.lost, what="the loss", timeout_s=5)
    assert [type(one) for one in told] == [errors.LeaseLostError]


def test_a_namespace_that_does_not_exist_is_named(cluster: Cluster) -> None:
    with pytest.raises(errors.NotFoundError, match="no-such-namespace"):
        leases.acquire(cluster, "no-such-namespace", "r1")
