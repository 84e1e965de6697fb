"""What the reference costs: decoding and applying, matching, following over ZeroMQ, memory.

Best of several rounds, in one process beside the publisher's; peers' figures are from machines like the one
that docs/figures.md was written on, and for other work where it says so.
"""

import asyncio
import base64
import gc
import json
import multiprocessing
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from resync.kits.waits import wait_until, wait_until_async
from resync.kvsync import handlers, wire
from resync.kvsync.index import PrefixIndex
from resync.kvsync.records import Batch, BlockRemoved, BlockStored
from resync.kvsync.subscriber import Statistics
from resync.testing import Publisher
from resync.transport.subscription import Source, Subscription, TransportSettings

BLOCK = 16
TOKENS = tuple(range(BLOCK))
BLOCKS = 16_384
ROUNDS = 7
RECORDED = Path(__file__).parents[2] / "shared" / "recordings" / "vllm-0.32.0-scheduler-block16.jsonl"
PEERS = {1: 67_300, 16: 39_400, 64: 14_400}
"""vLLM's example subscriber with a dict that counts, batches/s by hashes in each; its time has a socket in
it, and its 16 hashes are 8 stored and 8 removed."""

LIVE_BATCHES = 50_000
RING = 10_000
WAIT_S = 60.0


def best_s(work: Callable[[], object]) -> float:
    """The shortest of some rounds."""
    took_s = []
    for _ in range(ROUNDS):
        gc.collect()
        began_s = time.perf_counter()
        work()
        took_s.append(time.perf_counter() - began_s)
    return min(took_s)


def stores(per_event: int, *, blocks: int = BLOCKS) -> list[BlockStored]:
    """One event after the other, each hanging on the one before it."""
    hashes = range(blocks)
    return [
        BlockStored(tuple(hashes[n : n + per_event]), n - 1 if n else None, TOKENS * per_event, BLOCK)
        for n in range(0, blocks, per_event)
    ]


def new_index() -> PrefixIndex:
    """Empty, with one pod."""
    index = PrefixIndex(block_size=BLOCK)
    index.introduce("pod", "model")
    return index


def apply_all(payloads: Iterable[bytes]) -> None:
    """Decode and apply, into an empty index."""
    index = new_index()
    for payload in payloads:
        handlers.apply_batch(index, "pod", wire.decode_batch(payload))


def decode_and_apply() -> None:
    """Batches of 1, 16 and 64 hashes, and what a real scheduler published."""
    for per_event, peer in PEERS.items():
        batches = [Batch(0.0, (event,)) for event in stores(per_event)]
        payloads = [wire.encode_batch(batch, wire.WireForm.MAP) for batch in batches]
        took_s = best_s(lambda payloads=payloads: apply_all(payloads))  # type: ignore[misc]
        print(
            f"decode + apply, {per_event:2} hashes a batch: {len(payloads) / took_s:,.0f} batches/s,"
            f" {BLOCKS / took_s:,.0f} hashes/s (vLLM's example subscriber: {peer:,} batches/s)"
        )
    if not RECORDED.exists():
        print("decode + apply, recorded scheduler stream: not here")
        return
    lines = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]
    recorded = [base64.b64decode(line["frames"][2]) for line in lines if line["kind"] == "pub"]
    took_s = best_s(lambda: apply_all(recorded))
    print(f"decode + apply, recorded scheduler stream: {len(recorded) / took_s:,.0f} batches/s")


def one_block() -> None:
    """A stored and a removed block, without the wire."""
    events = stores(1)
    stored_s = best_s(lambda: store_all(new_index(), events))
    removals = [BlockRemoved(event.block_hashes) for event in reversed(events)]
    removed_s = float("inf")
    for _ in range(ROUNDS):
        index = new_index()
        store_all(index, events)
        began_s = time.perf_counter()
        for removal in removals:
            index.remove("pod", removal)
        removed_s = min(removed_s, time.perf_counter() - began_s)
    print(f"stored block: {stored_s / BLOCKS * 1e6:.2f} us (aim: <= 2; AIBrix: 5 to 10)")
    print(f"removed block: {removed_s / BLOCKS * 1e6:.2f} us (aim: <= 1.5; AIBrix: 1 to 13)")


def store_all(index: PrefixIndex, events: Sequence[BlockStored]) -> None:
    """Every event, for the one pod."""
    for event in events:
        index.store("pod", event)


def prefix_match() -> None:
    """64 blocks, with more and more pods that hold other prefixes."""
    (event,) = stores(64, blocks=64)
    for others in (0, 10, 100, 1000):
        index = new_index()
        index.store("pod", event)
        for n in range(others):
            index.introduce(f"other-{n}", "model")
            index.store(f"other-{n}", BlockStored((n,), None, (n + 100,) * BLOCK, BLOCK))
        assert index.match(event.token_ids, model="model") == {"pod": 64}
        took_s = best_s(lambda index=index: [index.match(event.token_ids, model="model") for _ in range(500)])  # type: ignore[misc]
        print(f"match of 64 blocks beside {others:4} pods: {took_s / 500 * 1e6:.1f} us (aim: <= 30, flat)")


def memory() -> None:
    """Of what an index keeps for each block."""
    events = stores(BLOCKS)
    gc.collect()
    tracemalloc.start()
    index = new_index()
    store_all(index, events)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"memory: {size / index.statistics().blocks:.0f} bytes a block (AIBrix states 64 an entry)")


def publish(control: Connection) -> None:
    """A publisher with a full ring; once it is followed and told to, it sends as fast as it can."""
    with Publisher() as engine:
        for event in stores(1, blocks=RING):
            engine.lose(event)
        control.send((engine.event_port, engine.replay_port))
        count = control.recv()
        wait_until(lambda: engine.subscribers, what="a subscription", timeout_s=WAIT_S)
        messages = [engine.lose(event) for event in stores(1, blocks=count)]
        for message in messages:
            engine.send(message)
        control.recv()


class Counting:
    """A handler that applies, and says when."""

    def __init__(self) -> None:
        self.index = new_index()
        self.times_s: dict[int, float] = {}

    def apply(self, seq: int, batch: Batch, live: bool) -> None:  # noqa: ARG002, FBT001 - the protocol's
        handlers.apply_batch(self.index, "pod", batch)
        if seq in {0, RING - 1, RING, RING + LIVE_BATCHES - 1}:
            self.times_s[seq] = time.perf_counter()

    def purge(self, reason: str) -> None:
        print(f"  (purged: {reason})")

    def degrade(self, reason: str) -> None:
        print(f"  (degraded: {reason})")

    def state_changed(self, statistics: Statistics) -> None:
        pass


async def followed(source: Source, control: Connection) -> tuple[Counting, Statistics, float]:
    """What was applied when, the statistics after the replay, and when it was asked for."""
    handler = Counting()
    subscription = Subscription(source, handler, TransportSettings())
    began_s = time.perf_counter()
    task = asyncio.create_task(subscription.run())

    async def applied(seq: int) -> Statistics | None:
        now = subscription.statistics()
        return now if now.exact and now.applied_seq >= seq else None

    replayed = await wait_until_async(lambda: applied(RING - 1), what="the replay", timeout_s=WAIT_S)
    control.send(LIVE_BATCHES)
    await wait_until_async(lambda: applied(RING + LIVE_BATCHES - 1), what="all of it", timeout_s=WAIT_S)
    task.cancel()
    await asyncio.wait([task])
    assert replayed is not None
    return handler, replayed, began_s


def over_zeromq() -> None:
    """A replay of a full ring, then live batches of one block."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=publish, args=(there,))
    process.start()
    event_port, replay_port = here.recv()
    source = Source("default/engine-0", "127.0.0.1", event_port, replay_port)
    handler, replayed, began_s = asyncio.run(followed(source, here))
    here.send("done")
    process.join()
    at_s = handler.times_s
    print(
        f"replay of {RING:,} batches: {at_s[RING - 1] - began_s:.2f} s from the connect, complete to the end"
        f" marker after {replayed.replays_asked} requests"
    )
    rate = LIVE_BATCHES / (at_s[RING + LIVE_BATCHES - 1] - at_s[RING])
    print(f"live over ZeroMQ: {rate:,.0f} batches/s of one block, applied (aim: >= 25,000; vLLM's: 31,700)")


def main() -> None:
    """All of them."""
    for figure in (decode_and_apply, one_block, prefix_match, memory, over_zeromq):
        figure()


if __name__ == "__main__":
    main()
