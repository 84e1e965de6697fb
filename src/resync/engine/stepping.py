"""The engine's heartbeat: plan a step, let its time pass, finish it, publish, hand out what is complete.

Publishing and marking the journal is one uninterrupted piece of code. Between the two nothing may run, or the
mark of sequence N would include changes that batch N does not tell.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Never

from resync.engine.announcing import announced
from resync.engine.flaws import Distortion, Flaw
from resync.engine.hashing import FullBlock
from resync.engine.history import History
from resync.engine.outlets import Outlet
from resync.engine.scheduling import Request, Scheduler
from resync.kits.clocks import Clock
from resync.kvsync.records import Batch

NEWS = ("BlockTouched",)
"""An event type that no published vLLM has: what a later one may bring, and a reader has to skip."""

Keep = Callable[[Sequence[FullBlock | None]], None]
"""Takes what the slots hold after a step that changed it."""


class Stepper:
    """Runs one scheduler for ever; completions wait here for their turn."""

    def __init__(
        self,
        scheduler: Scheduler,
        history: History,
        *,
        outlet: Outlet,
        clock: Clock,
        flaw: Flaw,
        keep: Keep | None = None,
        news_every: int | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._history = history
        self._outlet = outlet
        self._clock = clock
        self._keep = keep
        self._news_every = news_every
        self._distortion = Distortion(flaw)
        self._work = asyncio.Event()
        self._callers: dict[Request, asyncio.Future[None]] = {}

    async def complete(self, request: Request) -> None:
        """Returns once `request` has all its output. Raises RequestRefusedError when it cannot be served."""
        self._scheduler.submit(request)
        caller = self._callers[request] = asyncio.get_running_loop().create_future()
        self._work.set()
        await caller

    async def run(self) -> Never:
        """Step while there is work; until cancelled. What the pool held before is told first."""
        self._publish()
        while True:
            await self._work.wait()
            await asyncio.sleep(self._scheduler.plan())
            done = self._scheduler.finish()
            self._publish()
            for request in done:
                self._answer(request)
            if self._scheduler.idle:
                self._work.clear()

    def _publish(self) -> None:
        self._history.stepped(monotonic_s=self._clock.monotonic_s())
        pool = self._history.pool
        happenings = pool.take_happenings()
        if happenings and self._keep is not None:
            self._keep(pool.by_reuse())
        published = self._history.published_seq + 1
        if not happenings or not self._outlet.publishes or self._distortion.silences(published):
            return
        wall_s = self._clock.wall_s()
        told = self._distortion.applied(happenings, published)
        events = announced(told, block_size=pool.block_size)
        news = NEWS if self._news_every and published % self._news_every == 0 else ()
        seq = self._outlet.publish(Batch(ts=wall_s, events=events, unknown_events=news))
        self._history.published(seq, wall_s=wall_s)

    def _answer(self, request: Request) -> None:
        caller = self._callers.pop(request)
        if not caller.done():  # the client may have hung up
            caller.set_result(None)
