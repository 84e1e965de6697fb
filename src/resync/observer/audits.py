"""The audit of one gateway: a cut, four times a second.

A cut has to compare two things at the same moment although both move and neither waits. The gateway's view
is atomic and names, per pod, the sequence it has applied; the engine then answers what its pool held *at
that sequence*, however far it has moved on. So the order is: view first, then every truth in parallel. What
is wrong at such a cut is wrong; what is merely late shows in the same answer as staleness.

A cut is all or nothing. If one engine cannot be asked, whether another pod's block is missing or
misattributed cannot be told either; the cut is counted as a failure with its reason and no gauge moves. An
engine that does not answer and that Kubernetes calls not ready is no such case: its process is gone, and a
process that is gone holds nothing.

An engine with several data-parallel ranks has as many pools, and `/truth` tells of one: while there is such
an engine no cut is taken, and the reason says so.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from resync.kits.clocks import Clock
from resync.observer import control, cuts
from resync.observer.absences import Absences, Allowances
from resync.observer.asking import Asker, TruthAheadError
from resync.observer.cuts import Side
from resync.observer.errors import CutError, Reason
from resync.observer.fleets import Peer
from resync.observer.lives import Lives
from resync.observer.metrics import Metrics
from resync.observer.records import IndexView, PodView, Truth

log = logging.getLogger(__name__)

AUDITED_CUTS = 4.0
"""A gateway is audited while its last cut is at most so many intervals old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often, and how long things may take."""

    cut_every_s: float
    control_phase_timeout_s: float
    allowances: Allowances


class Audit:
    """One gateway's audit."""

    def __init__(
        self,
        gateway: Peer,
        *,
        asker: Asker,
        engines: Callable[[], Mapping[str, Peer]],
        unready: Callable[[], AbstractSet[str]],
        metrics: Metrics,
        clock: Clock,
        timing: Timing,
    ) -> None:
        self._gateway = gateway
        self._asker = asker
        self._engines = engines
        self._unready = unready
        self._metrics = metrics
        self._clock = clock
        self._every_s = timing.cut_every_s
        self._lives = Lives()
        self._absences = Absences(clock=clock, allowances=timing.allowances)
        self._last_reason: Reason | None = None
        self.control = control.Control(clock=clock, phase_timeout_s=timing.control_phase_timeout_s)
        self._cut_s: float | None = None

    @property
    def audited(self) -> bool:
        """Whether there was a cut of late: one that could not be taken is no blindness yet."""
        if self._cut_s is None:
            return False
        return self._clock.monotonic_s() - self._cut_s <= AUDITED_CUTS * self._every_s

    async def run(self) -> None:
        """Take cuts until cancelled, each begun one interval after the one before began, or later."""
        self._metrics.gateway_appeared(self._gateway.pod_key)
        while True:
            began_s = self._clock.monotonic_s()
            await self._attempt()
            await asyncio.sleep(max(0.0, began_s + self._every_s - self._clock.monotonic_s()))

    async def _attempt(self) -> None:
        began_s = self._clock.wall_s()
        try:
            self._export(await self._take(), began_s)
            self._cut_s = self._clock.monotonic_s()
            reason = None
        except CutError as failure:
            reason = failure.reason
            self._metrics.failures.labels(reason.value).inc()
            if reason is not self._last_reason:
                log.warning("no cut of %s: %s", self._gateway.pod_key, failure)
        if reason is None and self._last_reason is not None:
            log.info("cuts of %s again", self._gateway.pod_key)
        self._last_reason = reason

    async def _take(self) -> list[Side]:
        if self._gateway.base_url is None:
            raise CutError(Reason.GATEWAY_UNREACHABLE, f"{self._gateway.pod_key} has no address")
        view = await self._asker.index(self._gateway.base_url)
        engines = self._engines()
        if not engines:
            raise CutError(Reason.NO_ENGINE, "there is no engine to compare with")
        self._only_of_one_rank(engines.values())
        self._absences.update(engines=engines.keys(), viewed=view.pods.keys())
        self._lives.forget_all_but(view.pods.keys())
        asked = [self._side_or_gone(engine, view.pods.get(pod_key)) for pod_key, engine in engines.items()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        sides = [answer for answer in answers if isinstance(answer, Side)]
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [*sides, *self._sides_without_engine(view, engines)]

    def _only_of_one_rank(self, engines: Iterable[Peer]) -> None:
        several = [engine.pod_key for engine in engines if not engine.one_rank]
        if several:
            raise CutError(
                Reason.SEVERAL_RANKS, f"no truth tells what each data-parallel rank of {several[0]} holds"
            )

    async def _side_or_gone(self, engine: Peer, viewed: PodView | None) -> Side:
        try:
            return await self._side(engine, viewed)
        except CutError as failure:
            if failure.reason is Reason.TRUTH_UNREACHABLE and engine.pod_key in self._unready():
                return cuts.side_gone(engine.pod_key, viewed)
            raise

    async def _side(self, engine: Peer, viewed: PodView | None) -> Side:
        if engine.base_url is None:
            raise CutError(Reason.TRUTH_UNREACHABLE, f"{engine.pod_key} has no address")
        if viewed is None:
            return await self._unsubscribed(engine.pod_key, engine.base_url)
        try:
            truth = await self._asker.truth(engine.base_url, viewed.applied_seq)
        except TruthAheadError:
            truth = await self._asker.truth(engine.base_url, None)
            if not self._is_old_life(engine.pod_key, viewed, truth):
                truth = await self._asker.truth(engine.base_url, viewed.applied_seq)
        if self._is_old_life(engine.pod_key, viewed, truth) and not cuts.equal(truth, viewed):
            return cuts.side_of_old_life(engine.pod_key, truth, viewed)
        self._lives.adopt(engine.pod_key, incarnation=truth.incarnation, applied_seq=viewed.applied_seq)
        return cuts.side(engine.pod_key, truth, viewed)

    def _is_old_life(self, pod_key: str, viewed: PodView, truth: Truth) -> bool:
        return self._lives.is_old_life(
            pod_key,
            incarnation=truth.incarnation,
            applied_seq=viewed.applied_seq,
            published_seq=truth.published_seq,
        )

    async def _unsubscribed(self, pod_key: str, base_url: str) -> Side:
        if not self._absences.overdue(pod_key):
            raise CutError(
                Reason.AWAITING_SUBSCRIPTION,
                f"{self._gateway.pod_key} does not know {pod_key} yet, and is still allowed not to",
            )
        return cuts.side_unsubscribed(pod_key, await self._asker.truth(base_url, None))

    def _sides_without_engine(self, view: IndexView, engines: Mapping[str, Peer]) -> list[Side]:
        """Pods that only the gateway still knows: phantoms, once the news had time to arrive."""
        sides = []
        for pod_key in view.pods.keys() - engines.keys():
            rows = view.pods[pod_key].event_fed()
            if rows and not self._absences.overdue(pod_key):
                raise CutError(
                    Reason.AWAITING_REMOVAL,
                    f"{self._gateway.pod_key} still has {len(rows)} blocks of {pod_key}, which is gone",
                )
            sides.append(Side(pod_key=pod_key, truth=(), index=rows))
        return sides

    def _export(self, sides: list[Side], began_s: float) -> None:
        """Move every gauge of this gateway at once: nothing is awaited in here."""
        gateway, metrics = self._gateway.pod_key, self._metrics
        planted = Side(pod_key=control.POD_KEY, truth=self.control.rows, index=())
        wrong = cuts.compare([*sides, planted])
        for (pod_key, kind), blocks in wrong.items():
            metrics.divergence.set(blocks, gateway, pod_key, kind)
        for one in sides:
            self._export_side(one)
        metrics.cuts.labels(gateway).inc()
        calm = not any(blocks for (pod_key, _kind), blocks in wrong.items() if pod_key != control.POD_KEY)
        if not calm:
            metrics.divergent_cuts.labels(gateway).inc()
        metrics.cut_began.set(began_s, gateway)
        metrics.last_cut.set(self._clock.wall_s(), gateway)
        metrics.forget_pods(gateway, but=[control.POD_KEY, *(one.pod_key for one in sides)])
        if self.control.completed_s is not None:
            metrics.control.set(self.control.completed_s, gateway)
        if not self.control.exported(calm=calm):
            metrics.failures.labels(Reason.CONTROL_NOT_SCRAPED.value).inc()
            log.warning("the control of %s was not read in time: its gauge is unproven", gateway)

    def _export_side(self, one: Side) -> None:
        gateway, metrics = self._gateway.pod_key, self._metrics
        metrics.compared(gateway, one.pod_key, one.blocks_compared)
        metrics.index_blocks.set(len(one.index), gateway, one.pod_key)
        if one.answer is not None and one.pod_key in self._engines():
            metrics.show_engine(one.pod_key, one.answer)
            metrics.truth_blocks.set(len(one.answer.blocks), one.pod_key)
        elif one.answer is None:
            metrics.engine_gone(one.pod_key)
        if one.applied_seq is None:
            metrics.applied.drop(gateway, one.pod_key)
        else:
            metrics.applied.set(one.applied_seq, gateway, one.pod_key)
        if one.late is None:
            metrics.staleness_blocks.drop(gateway, one.pod_key)
            metrics.staleness_s.drop(gateway, one.pod_key)
        else:
            metrics.staleness_blocks.set(one.late.blocks, gateway, one.pod_key)
            metrics.staleness_s.set(one.late.age_s(self._clock.wall_s()), gateway, one.pod_key)
