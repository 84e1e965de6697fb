"""Many publishers through the real shell at once: nothing is lost, nobody waits for anybody."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from resync.kvsync import handlers, ranks
from resync.kvsync.index import PrefixIndex
from resync.kvsync.records import AllBlocksCleared, Batch, BlockStored
from resync.kvsync.subscriber import State, Statistics
from resync.testing import Publisher, answers
from resync.transport.subscription import Source, Subscription

if TYPE_CHECKING:
    from tests.transport.conftest import Stand
else:
    Stand = Any

pytestmark = pytest.mark.integration

PODS = 10
BATCHES = 100
BLOCK_SIZE = 2


class Indexing:
    """Applies one pod's stream to an index that all pods share, and remembers the order."""

    def __init__(self, index: PrefixIndex, pod_key: str) -> None:
        self._index = index
        self._pod_key = pod_key
        self.seqs: list[int] = []

    def apply(self, seq: int, batch: Batch, live: bool) -> None:  # noqa: ARG002, FBT001
        self.seqs.append(seq)
        handlers.apply_batch(self._index, self._pod_key, batch)

    def purge(self, reason: str) -> None:  # noqa: ARG002
        self.seqs.clear()
        self._index.purge(self._pod_key)

    def degrade(self, reason: str) -> None:
        raise AssertionError(f"{self._pod_key}: {reason}")

    def state_changed(self, statistics: Statistics) -> None:
        pass


def source_of(engine: Publisher, pod_key: str) -> Source:
    return Source(pod_key, engine.host, engine.event_port, engine.replay_port or 1)


async def follow(
    stack: AsyncExitStack, stand: Stand, index: PrefixIndex, source: Source
) -> tuple[Subscription, Indexing]:
    indexing = Indexing(index, source.pod_key)
    recorder: Any = indexing
    return await stack.enter_async_context(stand.following(source, recorder=recorder)), indexing


@pytest.mark.scenario("event-flow/many-pods-at-once")
async def test_ten_publishers_on_ten_addresses_lose_nothing_and_keep_their_order(stand: Stand) -> None:
    index = PrefixIndex(block_size=BLOCK_SIZE)
    async with AsyncExitStack() as stack:
        engines = [stack.enter_context(Publisher(host=f"127.0.0.{pod + 1}")) for pod in range(PODS)]
        followed = [
            await follow(stack, stand, index, source_of(engine, f"default/engine-{pod}"))
            for pod, engine in enumerate(engines)
        ]
        for engine, (subscription, _) in zip(engines, followed, strict=True):
            await stand.live(subscription, engine)
        for seq in range(BATCHES):
            for pod, engine in enumerate(engines):
                tokens = (pod, seq)
                engine.publish(BlockStored((pod * BATCHES + seq,), None, tokens, BLOCK_SIZE))
            await asyncio.sleep(0)  # a turn for the others: published and read at the same time
        for pod, (subscription, _) in enumerate(followed):
            await stand.until(subscription, f"pod {pod}", applied_seq=BATCHES - 1, exact=True)

        entries = [list(index.entries(f"default/engine-{pod}")) for pod in range(PODS)]
        assert sum(map(len, entries)) == PODS * BATCHES
        for pod, (subscription, indexing) in enumerate(followed):
            assert indexing.seqs == list(range(BATCHES))
            assert {one.hash for one in entries[pod]} == {pod * BATCHES + seq for seq in range(BATCHES)}
            assert all(one.copies == 1 and one.prefix_key is not None for one in entries[pod])
            assert (subscription.statistics().gaps, subscription.connections().connects) == (0, 1)


async def test_one_engine_that_floods_and_one_that_is_silent_do_not_delay_a_third(stand: Stand) -> None:
    index = PrefixIndex(block_size=BLOCK_SIZE)
    async with AsyncExitStack() as stack:
        flooding, silent, third = (stack.enter_context(Publisher()) for _ in range(3))
        silent.answer_next(*[answers.silence] * 100)
        for seq in range(20_000):
            flooding.lose(AllBlocksCleared(), BlockStored((seq,), None, (1, 2), BLOCK_SIZE))
        for pod, engine in enumerate((flooding, silent)):
            await follow(stack, stand, index, source_of(engine, f"default/engine-{pod}"))
        subscription, indexing = await follow(stack, stand, index, source_of(third, "default/engine-2"))
        await stand.live(subscription, third)
        third.publish(BlockStored((1,), None, (1, 2), BLOCK_SIZE))
        await stand.until(subscription, "its batch", applied_seq=0)
        assert indexing.seqs == [0]


@contextmanager
def two_ranks() -> Iterator[tuple[Publisher, Publisher]]:
    """Two publishers whose ports are neighbours, as the ranks of one server have them."""
    with ExitStack() as stack:
        while True:
            first = stack.enter_context(Publisher())
            try:
                second = Publisher(event_port=first.event_port + 1, replay_port=(first.replay_port or 0) + 1)
            except (zmq.ZMQError, OverflowError):
                continue  # a neighbour is taken: other ports
            yield first, stack.enter_context(second)
            return


async def test_the_ranks_of_one_server_are_followed_and_restarted_apart(stand: Stand) -> None:
    index = PrefixIndex(block_size=BLOCK_SIZE)
    stored = BlockStored((1,), None, (1, 2), BLOCK_SIZE)
    with two_ranks() as (first, second):
        sources = ranks.of_ranks(source_of(first, "default/engine-0"), 2)
        async with AsyncExitStack() as stack:
            (zero, _), (one, _) = [await follow(stack, stand, index, source) for source in sources]
            for rank in (first, second):
                rank.publish(stored)
            for subscription in (zero, one):
                await stand.until(subscription, "the block", applied_seq=0, exact=True)
            held = [[entry.hash for entry in index.entries(source.pod_key)] for source in sources]
            assert held == [[1], [1]]

            second.close()
            with stand.successor(second):
                await stand.until(one, "the next life of rank 1", state=State.LIVE, applied_seq=-1)
                held = [[entry.hash for entry in index.entries(source.pod_key)] for source in sources]
                assert held == [[1], []]
                assert (zero.statistics().restarts, one.statistics().restarts) == (0, 1)
                assert zero.statistics().exact
