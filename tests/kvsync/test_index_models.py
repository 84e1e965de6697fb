"""Both indexes against models so naive that they can be read at a glance, whatever the order of things.

The world of the models is small and true: a block is an adapter, a salt and a path of tokens from the start
of a prompt, its hash names exactly that, and its parent is the block one step before.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.kvsync import chain
from resync.kvsync.holdings import IndexLimits
from resync.kvsync.index import PrefixIndex
from resync.kvsync.localindex import LocalIndex
from resync.kvsync.records import BlockRemoved, BlockStored

pytestmark = pytest.mark.unit

SIZE = 2
SEED = 7
MODELS = {"a": "one", "b": "one", "c": "two"}
ADAPTERS = (None, "x")
Path: TypeAlias = tuple[int, ...]
"""One letter a block; the block's tokens are that letter `SIZE` times."""
PATHS: list[Path] = [path for depth in (1, 2, 3) for path in product((1, 2), repeat=depth)]


class Block(NamedTuple):
    """What a hash stands for."""

    adapter: str | None
    salt: int
    path: Path

    @property
    def name(self) -> int:
        return 1 + ADAPTERS.index(self.adapter) + 2 * (self.salt + 2 * PATHS.index(self.path))

    @property
    def parent(self) -> "Block | None":
        return self._replace(path=self.path[:-1]) if len(self.path) > 1 else None


def tokens(path: Path) -> tuple[int, ...]:
    return tuple(letter for letter in path for _ in range(SIZE))


class Store(NamedTuple):
    """One event: the last `length` blocks of the path that ends with `last`."""

    pod: str
    last: Block
    length: int
    group: int

    def blocks(self) -> list[Block]:
        ends = range(len(self.last.path) - self.length + 1, len(self.last.path) + 1)
        return [self.last._replace(path=self.last.path[:end]) for end in ends]

    def event(self) -> BlockStored:
        first = self.blocks()[0].parent
        return BlockStored(
            tuple(block.name for block in self.blocks()),
            first.name if first else None,
            tokens(self.last.path)[-self.length * SIZE :],
            SIZE,
            lora_name=self.last.adapter,
            group_idx=self.group,
        )


class Remove(NamedTuple):
    """One event that takes a copy."""

    pod: str
    block: Block
    group: int


class Empty(NamedTuple):
    """The pod says that it is empty, or leaves."""

    pod: str
    leaves: bool


class Tick(NamedTuple):
    """Time for what is idle to go."""

    now_s: float


Step: TypeAlias = Store | Remove | Empty | Tick
BLOCKS = st.builds(Block, st.sampled_from(ADAPTERS), st.integers(0, 1), st.sampled_from(PATHS))
POD = st.sampled_from([*MODELS])
GROUP = st.integers(0, 1)
STORES = BLOCKS.flatmap(
    lambda last: st.builds(Store, POD, st.just(last), st.integers(1, len(last.path)), GROUP)
)
EVENTS = STORES | STORES | st.builds(Remove, POD, BLOCKS, GROUP) | st.builds(Empty, POD, st.booleans())
STEPS = EVENTS | st.builds(Tick, st.floats(0, 100))


class Naive:
    """A pod's copies, one by one, and which of its blocks can be traced to the start of a prompt."""

    def __init__(self) -> None:
        self.copies: Counter[tuple[str, int, Block]] = Counter()
        self.traced: set[tuple[str, Block]] = set()

    def take(self, step: Step) -> None:
        match step:
            case Store(pod, _, _, group):
                # Within one event all hang together; the first needs a parent that can be traced.
                blocks = step.blocks()
                self.copies.update((pod, group, block) for block in blocks)
                if blocks[0].parent is None or (pod, blocks[0].parent) in self.traced:
                    self.traced.update((pod, block) for block in blocks)
            case Remove(pod, block, group):
                self.copies -= Counter({(pod, group, block): 1})
            case Empty(pod, _):
                self.copies = Counter({key: n for key, n in self.copies.items() if key[0] != pod})
        self._trace()

    def _trace(self) -> None:
        held = {(pod, block) for pod, _, block in self.copies}
        self.traced &= held
        while found := {
            (pod, block) for pod, block in held - self.traced if (pod, block.parent) in self.traced
        }:
            self.traced |= found

    def entries(self, pod: str) -> dict[tuple[int, int], tuple[int, int | None]]:
        return {
            (group, block.name): (
                n,
                chain.prefix_keys(tokens(block.path), SIZE, SEED)[-1]
                if (pod, block) in self.traced
                else None,
            )
            for (holder, group, block), n in self.copies.items()
            if holder == pod
        }

    def match(self, path: Path, adapter: str | None, model: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for depth in range(1, len(path) + 1):
            for pod, serves in MODELS.items():
                held = any((pod, Block(adapter, salt, path[:depth])) in self.traced for salt in (0, 1))
                if serves == model and held and found.get(pod, 0) == depth - 1:
                    found[pod] = depth
        return found


def run(index: PrefixIndex, step: Step, idle_s: float = 10.0) -> None:
    match step:
        case Store(pod):
            index.introduce(pod, MODELS[pod])
            index.store(pod, step.event())
        case Remove(pod, block, group):
            index.remove(pod, BlockRemoved((block.name,), group_idx=group))
        case Empty(pod, leaves):
            (index.purge if leaves else index.clear)(pod)
        case Tick(now_s):
            index.evict_idle(now_s, idle_s)


def entries(index: PrefixIndex, pod: str) -> dict[tuple[int, int], tuple[int, int | None]]:
    found = index.entries(pod)
    assert len({(entry.group, entry.hash) for entry in found}) == len(found)
    return {(entry.group, entry.hash): (entry.copies, entry.prefix_key) for entry in found}


def prompts() -> Iterator[tuple[Path, str | None, str]]:
    deepest = [path for path in PATHS if len(path) == 3]
    return product(deepest, ADAPTERS, set(MODELS.values()))


@given(st.lists(EVENTS, max_size=30))
def test_the_synced_index_is_the_naive_one_whatever_the_order(steps: list[Step]) -> None:
    index, naive = PrefixIndex(block_size=SIZE, seed=SEED), Naive()
    for step in steps:
        run(index, step)
        naive.take(step)
    for pod in MODELS:
        assert entries(index, pod) == naive.entries(pod)
    for path, adapter, model in prompts():
        found = index.match((*tokens(path), 9), adapter, model=model)
        assert found == naive.match(path, adapter, model)
    said = index.statistics()
    assert said.blocks == sum(index.sizes().values()) == sum(len(naive.entries(pod)) for pod in MODELS)
    assert said.refused_blocks == said.evicted_blocks == 0


LIMITS = st.builds(IndexLimits, st.integers(2, 3), st.integers(1, 6), st.integers(1, 4))


@given(st.lists(STEPS, max_size=40), LIMITS)
def test_limits_hold_and_leave_out_only_what_is_said(steps: list[Step], limits: IndexLimits) -> None:
    """Whatever is refused or evicted, an index that lacks nothing is right, and none says too much."""
    index, naive = PrefixIndex(block_size=SIZE, seed=SEED, limits=limits), Naive()
    for step in steps:
        run(index, step)
        naive.take(step)
        for context in index._contexts.values():
            assert len(context.holders) <= context.blocks <= limits.blocks_per_context_max
        assert all(size <= limits.blocks_per_pod_max for size in index.sizes().values())
        assert sum(adapter is not None for _, adapter in index._contexts) <= limits.contexts_max
    for pod in MODELS:
        found, held = entries(index, pod), naive.entries(pod)
        if not index.lacks(pod):
            assert found == held
        for key, (copies, prefix_key) in found.items():
            assert copies <= held[key][0]
            assert prefix_key in {None, held[key][1]}
    for path, adapter, model in prompts():
        allowed = naive.match(path, adapter, model)
        for pod, blocks in index.match(tokens(path), adapter, model=model).items():
            assert blocks <= allowed[pod]
    if any(map(index.lacks, MODELS)):
        assert index.statistics().refused_blocks + index.statistics().evicted_blocks > 0


@given(st.lists(EVENTS, max_size=30))
def test_what_leaves_leaves_nothing_behind(steps: list[Step]) -> None:
    index = PrefixIndex(block_size=SIZE)
    for step in steps:
        run(index, step)
    for pod in MODELS:
        index.purge(pod)
    assert index.statistics() == PrefixIndex(block_size=SIZE).statistics()
    assert (index._contexts, index._bits._names, index._bits._bits) == ({}, {}, {})


class Routed(NamedTuple):
    """A prompt that goes to a pod."""

    pod: str
    path: Path
    adapter: str | None
    after_s: float


class Leaves(NamedTuple):
    pod: str


class NaiveRoutes:
    """Blocks in the order in which they were last routed, the oldest first; each with its pods and time."""

    def __init__(self, blocks_max: int) -> None:
        self.blocks_max = blocks_max
        self.rows: list[tuple[tuple[str, str | None, Path], set[str], float]] = []

    def routed(self, pod: str, path: Path, adapter: str | None, now_s: float) -> None:
        for depth in range(min(len(path), self.blocks_max), 0, -1):
            name = (MODELS[pod], adapter, path[:depth])
            pods = next((pods for row, pods, _ in self.rows if row == name), set())
            self.rows = [row for row in self.rows if row[0] != name]
            self.rows.append((name, {*pods, pod}, now_s))
        self.rows = self.rows[-self.blocks_max :]

    def leaves(self, gone: str) -> None:
        self.rows = [(name, pods - {gone}, at) for name, pods, at in self.rows if pods != {gone}]

    def age(self, now_s: float, idle_s: float) -> None:
        self.rows = [row for row in self.rows if now_s - row[2] < idle_s]

    def match(self, path: Path, adapter: str | None, model: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for depth in range(1, len(path) + 1):
            for name, pods, _ in self.rows:
                if name == (model, adapter, path[:depth]):
                    found.update({pod: depth for pod in pods if found.get(pod, 0) == depth - 1})
        return found


ROUTES = st.lists(
    st.builds(Routed, POD, st.sampled_from(PATHS), st.sampled_from(ADAPTERS), st.floats(0, 3))
    | st.builds(Leaves, POD)
    | st.builds(Tick, st.floats(0, 3)),
    max_size=30,
)


@given(ROUTES, st.integers(1, 20))
def test_the_local_index_is_the_naive_one_whatever_the_order(
    steps: list[Routed | Leaves | Tick], blocks_max: int
) -> None:
    index, naive = LocalIndex(block_size=SIZE, seed=SEED, blocks_max=blocks_max), NaiveRoutes(blocks_max)
    now_s = 0.0
    for step in steps:
        match step:
            case Routed(pod, path, adapter, after_s):
                now_s += after_s
                index.routed(pod, (*tokens(path), 9), adapter, model=MODELS[pod], now_s=now_s)
                naive.routed(pod, path, adapter, now_s)
            case Leaves(pod):
                index.purge(pod)
                naive.leaves(pod)
            case Tick(after_s):
                now_s += after_s
                before = len(index)
                assert index.evict_idle(now_s, 5.0) == before - len(index)
                naive.age(now_s, 5.0)
        assert len(index) == len(naive.rows) <= blocks_max
    for path, adapter, model in prompts():
        assert index.match(tokens(path), adapter, model=model) == naive.match(path, adapter, model)
    for pod in MODELS:
        assert len(index.entries(pod)) == sum(pod in pods for _, pods, _ in naive.rows)
