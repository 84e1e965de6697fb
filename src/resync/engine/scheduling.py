"""Continuous batching without a GPU: who computes what in the next step, and how long it takes. Pure.

A step is vLLM's: every running request computes one token, waiting requests are admitted first come first
served and compute their whole prompt except the prefix that is already held. Slots are taken and filled when
the step is *planned*, as in vLLM's `schedule()`; events leave when it is *finished*, as in
`update_from_output()`. So what an engine holds runs ahead of what it has published by up to one step, and an
audit must not confuse the two.

The last prompt token is always computed, because its output is the first new token: of a prompt that is fully
held and an exact multiple of the block size, the last block is computed again, into a second copy.

When a running request needs a slot and none is free, the request that arrived last gives up its slots and
starts over later (vLLM's preemption by recomputation). Left out: chunked prefill, priorities, speculative
decoding.
"""

from collections import deque
from dataclasses import dataclass, field

import xxhash

from resync.engine.errors import PoolExhaustedError, RequestRefusedError
from resync.engine.hashing import FullBlock, extend
from resync.engine.pool import BlockPool

RUNNING_MAX = 256
"""Requests computed together (vLLM's default `max_num_seqs`)."""
WAITING_MAX = 1024
"""Requests that may wait; vLLM has no limit here, and then every queue has one."""
VOCABULARY = 32_000
"""Token ids the model produces: 0 to 31,999 (Llama 2's vocabulary)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What a step costs, in seconds."""

    prefill_base_s: float
    prefill_token_s: float
    decode_token_s: float


@dataclass(slots=True, eq=False)
class Request:
    """One completion on its way through the scheduler."""

    prompt: tuple[int, ...]
    max_tokens: int
    output: list[int] = field(default_factory=list)
    cached_tokens: int = 0
    """Prompt tokens that did not have to be computed when the request was first admitted."""
    admitted: bool = False
    computed: int = 0
    slots: list[int] = field(default_factory=list)
    chain: list[FullBlock] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """All output tokens are there."""
        return len(self.output) == self.max_tokens


@dataclass(slots=True)
class Totals:
    """What the metrics count, since the engine started; all in tokens or requests."""

    queried_tokens: int = 0
    hit_tokens: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    succeeded: int = 0
    preempted: int = 0


class Scheduler:
    """Requests, and the pool they use."""

    def __init__(self, pool: BlockPool, *, timing: Timing, seed: int) -> None:
        self._pool = pool
        self._timing = timing
        self._seed = seed
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self.totals = Totals()

    @property
    def waiting(self) -> int:
        """Requests not admitted yet."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that use slots."""
        return len(self._running)

    @property
    def idle(self) -> bool:
        """There is nothing to compute."""
        return not self._waiting and not self._running

    def submit(self, request: Request) -> None:
        """Queue a request. Raises RequestRefusedError when it can never fit, or when too many wait."""
        if not request.prompt or request.max_tokens < 1:
            raise RequestRefusedError("a completion needs a prompt of at least one token and max_tokens >= 1")
        longest = len(request.prompt) + request.max_tokens
        capacity = self._pool.slots_total * self._pool.block_size
        if longest > capacity:
            raise RequestRefusedError(
                f"prompt and max_tokens come to {longest} tokens, the KV cache holds {capacity}: shorten one"
            )
        if len(self._waiting) >= WAITING_MAX:
            raise RequestRefusedError(f"{WAITING_MAX} requests are waiting already: send less", status=503)
        request.tokens = list(request.prompt)
        self._waiting.append(request)

    def plan(self) -> float:
        """Take and fill the slots of the next step; how many seconds computing it takes."""
        preempted = self.totals.preempted
        self._advance_running()
        duration_s = self._timing.decode_token_s if self._running else 0.0
        uncached = self._admit_waiting() if self.totals.preempted == preempted else 0
        if uncached:
            duration_s += self._timing.prefill_base_s + uncached * self._timing.prefill_token_s
        return duration_s

    def finish(self) -> list[Request]:
        """The step is computed: every running request has one more token. Returns those that are complete."""
        for request in self._running:
            self._sample(request)
        done = [request for request in self._running if request.finished]
        self._running = [request for request in self._running if not request.finished]
        for request in done:
            self._pool.release(request.slots)
        self.totals.output_tokens += len(done) + len(self._running)
        self.totals.succeeded += len(done)
        return done

    def _advance_running(self) -> None:
        place = 0
        while place < len(self._running):  # a preemption takes from the end, so nobody is skipped
            self._advance(self._running[place])
            place += 1

    def _admit_waiting(self) -> int:
        uncached = 0
        while self._waiting and len(self._running) < RUNNING_MAX:
            computed = self._admit(self._waiting[0])
            if not computed:
                break
            uncached += computed
            self._running.append(self._waiting.popleft())
        return uncached

    def _admit(self, request: Request) -> int:
        """Tokens the first step of `request` computes, or 0 when its slots are not to be had now."""
        size = self._pool.block_size
        extend(request.chain, request.tokens, block_size=size)
        reuse = self._pool.match(request.chain[: (len(request.tokens) - 1) // size])
        fresh = _slots_for(len(request.tokens), size) - reuse
        try:
            request.slots = self._pool.acquire(request.chain, reuse=reuse, fresh=fresh)
        except PoolExhaustedError:
            return 0
        self._pool.fill(request.slots[reuse : len(request.chain)], request.chain[reuse:])
        request.computed = len(request.tokens)
        self._count_admission(request, cached=reuse * size)
        return request.computed - reuse * size

    def _count_admission(self, request: Request, *, cached: int) -> None:
        if request.admitted:  # a preempted request comes back to its own blocks: that is no hit
            return
        request.admitted = True
        request.cached_tokens = cached
        self.totals.hit_tokens += cached
        self.totals.queried_tokens += len(request.prompt)
        self.totals.prompt_tokens += len(request.prompt)

    def _advance(self, request: Request) -> None:
        """Compute the newest token of a running request; may preempt later requests, or itself."""
        size = self._pool.block_size
        while request.computed + 1 > len(request.slots) * size:
            try:
                request.slots += self._pool.acquire((), reuse=0, fresh=1)
            except PoolExhaustedError:
                self._preempt(self._running[-1])
                if request not in self._running:
                    return
        request.computed += 1
        full = len(request.chain)
        extend(request.chain, request.tokens[: request.computed], block_size=size)
        self._pool.fill(request.slots[full : len(request.chain)], request.chain[full:])

    def _preempt(self, request: Request) -> None:
        self._running.remove(request)
        self._pool.release(request.slots)
        request.slots = []
        request.computed = 0
        self._waiting.appendleft(request)
        self.totals.preempted += 1

    def _sample(self, request: Request) -> None:
        """The next token, fixed by seed, prompt and place: engines with one seed answer alike."""
        token = xxhash.xxh64_intdigest(
            b"%d %d %d"
            % (request.tokens[-1], len(request.tokens), request.chain[-1].hash if request.chain else 0),
            seed=self._seed,
        )
        request.tokens.append(token % VOCABULARY)
        request.output.append(request.tokens[-1])


def _slots_for(tokens: int, block_size: int) -> int:
    return -(-tokens // block_size)
