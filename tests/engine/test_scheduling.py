"""Steps: what is computed, what is reused, what it costs, and who gives way when blocks run out."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resync.engine.errors import RequestRefusedError
from resync.engine.hashing import FullBlock
from resync.engine.pool import BlockPool, Cleared, Happening, Stored
from resync.engine.scheduling import Request, Scheduler, Timing

BLOCK = 4
TIMING = Timing(prefill_base_s=1.0, prefill_token_s=0.1, decode_token_s=0.01)


def engine(slots: int = 16) -> tuple[Scheduler, BlockPool]:
    pool = BlockPool(slots_total=slots, block_size=BLOCK)
    return Scheduler(pool, timing=TIMING, seed=0), pool


def run(scheduler: Scheduler, *requests: Request, steps_max: int = 500) -> None:
    for request in requests:
        scheduler.submit(request)
    for _ in range(steps_max):
        if scheduler.idle:
            return
        scheduler.plan()
        scheduler.finish()
    raise AssertionError(f"not finished in {steps_max} steps")


def stored_blocks(happenings: list[Happening]) -> int:
    return sum(len(h.blocks) for h in happenings if isinstance(h, Stored))


def fold(index: Counter[FullBlock], happenings: list[Happening]) -> None:
    for happening in happenings:
        assert not isinstance(happening, Cleared)
        if isinstance(happening, Stored):
            index.update(happening.blocks)
        else:
            index[happening.block] -= 1


def test_the_second_of_two_equal_prompts_finds_the_prefix() -> None:
    scheduler, _ = engine()
    first, second = Request(tuple(range(10)), 1), Request(tuple(range(10)), 1)
    run(scheduler, first)
    run(scheduler, second)
    assert (first.cached_tokens, second.cached_tokens) == (0, 8)
    assert (scheduler.totals.queried_tokens, scheduler.totals.hit_tokens) == (20, 8)


def test_a_fully_held_exact_multiple_computes_its_last_block_into_a_second_copy() -> None:
    scheduler, pool = engine()
    prompt = tuple(range(8))
    run(scheduler, Request(prompt, 1))
    again = Request(prompt, 1)
    run(scheduler, again)
    assert again.cached_tokens == 4
    assert sorted(pool.held().values()) == [1, 2]


def test_equal_prompts_in_one_step_share_what_the_first_of_them_fills() -> None:
    scheduler, pool = engine()
    requests = [Request(tuple(range(10)), 1) for _ in range(2)]
    run(scheduler, *requests)
    assert [request.cached_tokens for request in requests] == [0, 8]
    assert set(pool.held().values()) == {1}


def test_prefill_costs_a_base_and_every_uncached_token() -> None:
    scheduler, _ = engine()
    scheduler.submit(Request(tuple(range(10)), 1))
    assert scheduler.plan() == pytest.approx(1.0 + 10 * 0.1)
    scheduler.finish()
    scheduler.submit(Request(tuple(range(10)), 1))
    assert scheduler.plan() == pytest.approx(1.0 + 2 * 0.1)


def test_a_step_with_running_requests_costs_one_token_however_many_run() -> None:
    scheduler, _ = engine()
    for start in (0, 100):
        scheduler.submit(Request(tuple(range(start, start + 5)), 3))
    scheduler.plan()
    scheduler.finish()
    assert scheduler.plan() == pytest.approx(0.01)


def test_a_generated_block_is_announced_when_it_is_full_and_not_before() -> None:
    scheduler, pool = engine()
    scheduler.submit(Request((1, 2, 3), 6))
    announced = []
    while not scheduler.idle:
        scheduler.plan()
        announced.append(stored_blocks(pool.take_happenings()))
        scheduler.finish()
    # 3 prompt tokens, then one more each step: the 4th and the 8th fill a block; the 9th is never computed.
    assert announced == [0, 1, 0, 0, 0, 1]


def test_a_running_request_holds_its_blocks() -> None:
    scheduler, pool = engine(slots=4)
    scheduler.submit(Request(tuple(range(8)), 3))
    scheduler.submit(Request(tuple(range(50, 58)), 2))
    scheduler.plan()
    assert (scheduler.running, scheduler.waiting, pool.slots_free) == (2, 0, 0)


def test_a_request_waits_for_blocks_in_turn() -> None:
    scheduler, _ = engine(slots=4)
    first = Request(tuple(range(12)), 2)
    large, small = Request(tuple(range(20, 32)), 2), Request((99,), 1)
    for request in (first, large, small):
        scheduler.submit(request)
    scheduler.plan()
    assert (scheduler.running, scheduler.waiting) == (1, 2)


def test_the_latest_request_gives_way_and_starts_over_unharmed() -> None:
    alone, _ = engine(slots=4)
    undisturbed = Request(tuple(range(50, 57)), 8)
    run(alone, undisturbed)
    scheduler, _ = engine(slots=4)
    early, late = Request(tuple(range(8)), 8), Request(tuple(range(50, 57)), 8)
    run(scheduler, early, late)
    assert scheduler.totals.preempted == 1
    assert late.output == undisturbed.output
    assert scheduler.totals.prompt_tokens == 15


def test_the_same_seed_gives_the_same_output_in_every_engine() -> None:
    requests = [Request(tuple(range(10)), 5) for _ in range(2)]
    for request in requests:
        run(engine()[0], request)
    other = Request(tuple(range(10)), 5)
    run(Scheduler(BlockPool(slots_total=16, block_size=BLOCK), timing=TIMING, seed=1), other)
    assert requests[0].output == requests[1].output != other.output


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request((), 1), "at least one token"),
        (Request((1,), 0), "max_tokens >= 1"),
        (Request(tuple(range(60)), 5), "come to 65 tokens, the KV cache holds 64"),
    ],
    ids=["no prompt", "no output", "too long for the pool"],
)
def test_what_can_never_be_served_is_refused_at_once(request_: Request, sentence: str) -> None:
    scheduler, _ = engine()
    with pytest.raises(RequestRefusedError, match=sentence):
        scheduler.submit(request_)
    assert scheduler.idle


lengths = st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(0, 2))


@settings(max_examples=150)
@given(st.lists(lengths, max_size=12), st.integers(8, 12))
def test_every_request_finishes_and_leaves_no_slot_behind(
    shapes: list[tuple[int, int, int]], slots: int
) -> None:
    scheduler, pool = engine(slots)
    requests = [Request(tuple(range(kind, kind + length)), output) for length, output, kind in shapes]
    for request in requests:
        scheduler.submit(request)
    index: Counter[FullBlock] = Counter()
    while not scheduler.idle:
        scheduler.plan()
        fold(index, pool.take_happenings())
        scheduler.finish()
        assert +index == pool.held()
    assert all(request.finished for request in requests)
    assert pool.slots_free == slots
    assert scheduler.totals.succeeded == len(requests)
