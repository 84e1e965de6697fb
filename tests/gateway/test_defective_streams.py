"""Each defect of a subscription, on one stream that shows it: what its index has, and a healthy one has not.

A machine is driven by hand, its effects are done to an index. On a quiet day all of them are right.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
import pytest

from resync.gateway import flaws
from resync.gateway.flaws.connections import Resetting, says_it_in_maps, says_something_unknown
from resync.kits.clocks import ManualClock
from resync.kits.waits import wait_until_async
from resync.kvsync import handlers, wire
from resync.kvsync.effects import Apply, AskReplay, Purge
from resync.kvsync.index import PrefixIndex
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import Batch, BlockRemoved, BlockStored, KVEvent, Message
from resync.kvsync.source import Source
from resync.kvsync.subscriber import Subscriber
from resync.kvsync.transitions import State
from resync.testing import Publisher as Engine
from resync.transport.settings import TransportSettings
from resync.transport.subscription import Subscription

A = "default/engine-a"
STREAMS = (
    "replay-discarded", "replay-end-trusted", "replay-counted-twice", "live-before-replay",
    "gap-only-counted", "restart-ignored", "poison-resets:0",
)  # fmt: skip


class Nobody:
    """A handler that is never called: no socket is opened."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class Follower:
    """A subscription's machine and the index that it feeds."""

    def __init__(self, name: str | None) -> None:
        parts = flaws.parts_for(name, ManualClock())
        made = parts.subscription(Source(A, "127.0.0.1"), Nobody(), TransportSettings())
        self.machine: Subscriber = made._machine
        self.index = PrefixIndex(block_size=1)
        self.asked: list[int] = []

    def do(self, input_of: Callable[..., Any], *arguments: Any) -> None:
        for effect in input_of(*arguments, 0.0):
            match effect:
                case Apply(batch=batch):
                    handlers.apply_batch(self.index, A, batch)
                case Purge():
                    self.index.clear(A)
                case AskReplay(start_seq=start):
                    self.asked.append(start)

    def live(self, *messages: Message) -> None:
        for message in messages:
            self.do(self.machine.live, message)

    def answered(self, messages: Iterable[Message] = ()) -> None:
        for message in messages:
            self.do(self.machine.replayed, message)
        self.do(self.machine.replay_ended)

    def connect(self, life: list[Message]) -> None:
        """As a publisher answers that keeps everything: twice after a connect, from where it is asked."""
        self.do(self.machine.connected)
        for _ in range(3):
            if self.machine.state in {State.REPLAYING, State.RESYNCING}:
                self.answered(life[self.asked[-1] :])

    def reconnect(self, life: list[Message]) -> None:
        self.do(self.machine.disconnected)
        self.connect(life)

    @property
    def copies(self) -> dict[int, int]:
        return {entry.hash: entry.copies for entry in self.index.entries(A)}


def life(*events: KVEvent, ts: float = 0.0) -> list[Message]:
    publisher = Publisher()
    return [publisher.publish(Batch(ts, (event,))) for event in events]


def stored(block: int) -> BlockStored:
    return BlockStored((block,), None, (block,), 1)


def removed(block: int) -> BlockRemoved:
    return BlockRemoved((block,))


STREAM = life(stored(1), stored(2), removed(1), stored(3), removed(2), stored(4))


def follow(name: str | None, *seqs: int) -> Follower:
    """Connected before the first batch, then live batches of the stream."""
    follower = Follower(name)
    follower.connect([])
    follower.live(*(STREAM[seq] for seq in seqs))
    return follower


@pytest.mark.parametrize("name", [None, *STREAMS])
def test_on_a_quiet_day_every_one_of_them_is_right(name: str | None) -> None:
    follower = follow(name, *range(6))
    assert follower.copies == {3: 1, 4: 1}
    assert follower.machine.exact
    assert follower.machine.applied_seq == 5
    assert follower.machine.statistics().gaps == 0


@pytest.mark.parametrize(
    ("name", "has"),
    [
        (None, {3: 1, 4: 1}),
        ("replay-discarded", {1: 1, 4: 1}),
        ("replay-end-trusted", {3: 1, 4: 1}),
        ("replay-counted-twice", {1: 1, 3: 3, 4: 1}),
        ("restart-ignored", {3: 1, 4: 1}),
        ("gap-only-counted", {1: 1, 4: 1}),
    ],
)
def test_batches_lost_with_a_connection(name: str | None, has: dict[int, int]) -> None:
    follower = follow(name, 0)
    follower.reconnect(STREAM[:5])
    follower.live(STREAM[5])
    if follower.machine.state is State.GAP:
        follower.answered(STREAM[follower.asked[-1] :])
    assert follower.copies == has


@pytest.mark.parametrize(("name", "has"), [(None, {3: 1, 4: 1}), ("replay-end-trusted", {1: 1, 2: 1, 4: 1})])
def test_a_replay_that_ends_before_it_is_complete(name: str | None, has: dict[int, int]) -> None:
    follower = follow(name, 0)
    follower.live(STREAM[5])
    follower.answered(STREAM[0:2])
    while follower.machine.state is State.GAP:
        follower.answered(STREAM[follower.asked[-1] :])
    assert follower.copies == has
    assert follower.machine.exact


@pytest.mark.parametrize(("name", "has"), [(None, {3: 1, 4: 1}), ("live-before-replay", {2: 1, 3: 1, 4: 1})])
def test_a_removal_that_is_applied_before_the_replay_of_its_store(
    name: str | None, has: dict[int, int]
) -> None:
    follower = follow(name, 0)
    follower.do(follower.machine.disconnected)
    follower.do(follower.machine.connected)
    follower.live(STREAM[4], STREAM[5])
    follower.answered(STREAM[0:4])
    if name is None:
        follower.answered(STREAM[follower.asked[-1] :])
    assert follower.copies == has


@pytest.mark.parametrize(("name", "has"), [(None, {9: 1}), ("restart-ignored", {1: 1, 2: 1, 9: 1})])
def test_an_engine_that_begins_again_from_nothing(name: str | None, has: dict[int, int]) -> None:
    follower = follow(name, 0, 1)
    again = life(stored(9), ts=1.0)
    follower.reconnect([])
    while follower.machine.state is not State.LIVE:
        follower.answered()
    follower.live(*again)
    while follower.machine.state is not State.LIVE:
        follower.answered(again)
    assert follower.copies == has


def test_a_gap_is_counted_and_nothing_asked() -> None:
    follower = follow("gap-only-counted", 0, 3)
    statistics = follower.machine.statistics()
    assert (statistics.gaps, statistics.missed, statistics.gaps_repaired) == (1, 2, 0)
    assert follower.asked == []


def test_a_discarded_replay_is_called_a_success() -> None:
    follower = follow("replay-discarded", 0)
    before = follower.machine.statistics().replays_succeeded
    follower.reconnect(STREAM[:5])
    assert follower.machine.statistics().replays_succeeded == before + 1


def test_what_cannot_be_read() -> None:
    maps, poison = STREAM[0].payload, msgspec.msgpack.encode([0.0, [{"type": "BlockMoved"}], 0])
    arrays = msgspec.msgpack.encode([0.0, [["BlockRemoved", [1]]], 0])
    assert [says_it_in_maps(one) for one in (maps, poison, arrays)] == [True, True, False]
    assert [says_something_unknown(one) for one in (maps, poison, arrays)] == [False, True, False]


class Applied:
    """A handler that remembers numbers."""

    def __init__(self) -> None:
        self.seqs: list[int] = []

    def apply(self, seq: int, batch: Batch, live: bool) -> None:  # noqa: ARG002, FBT001 - the protocol's shape
        self.seqs.append(seq)

    def purge(self, reason: str) -> None:
        raise AssertionError(reason)

    def degrade(self, reason: str) -> None:
        raise AssertionError(reason)

    def state_changed(self, statistics: object) -> None:
        """Nothing."""


@pytest.mark.integration
def test_a_batch_that_cannot_be_read_is_fetched_over_new_connections_for_ever() -> None:
    async def follow(
        made: Callable[..., Subscription], *, until: Callable[[Subscription], bool]
    ) -> list[int]:
        handler = Applied()
        source = Source(A, engine.host, engine.event_port, engine.replay_port or 1)
        subscription = made(source, handler, TransportSettings(reconnect_min_ms=5))
        running = asyncio.get_running_loop().create_task(subscription.run())

        async def seen() -> bool:
            return until(subscription)

        await wait_until_async(seen, what="the condition", timeout_s=15, every_s=0.005)
        running.cancel()
        await asyncio.wait([running], timeout=5)
        return handler.seqs

    with Engine() as engine:
        engine.publish(stored(1))
        engine.publish(stored(2))
        second = wire.encode_batch(Batch(0.0, (stored(2),)), wire.WireForm.MAP)[10:]
        refusing = partial(Resetting, lambda payload: payload.endswith(second))
        assert asyncio.run(follow(Subscription, until=lambda one: one.statistics().applied_seq == 1)) == [
            0,
            1,
        ]
        lost = asyncio.run(follow(refusing, until=lambda one: one.connections().disconnects >= 3))
    assert lost == [0]
