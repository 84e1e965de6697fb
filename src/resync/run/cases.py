"""The records of one run, looked at as a whole: what it was about, what was sampled, what each claim came to.

Everything is computed from the records, nothing that the run concluded is taken over.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from resync.run.audits import judge_audit
from resync.run.claims import judge_all, judge_pods
from resync.run.effects import Effect, FaultEffect, effect_of
from resync.run.judgements import Context, Judgement
from resync.run.observations import Phase, PodSeen
from resync.run.profiles import DELAY, PROFILES, Pods, Profile, proven_on
from resync.run.readings import RTT
from resync.run.records import (
    FaultHealed,
    FaultInjected,
    PodsListed,
    Record,
    RoutingAudited,
    SamplesTaken,
    TargetJoined,
    TargetsFrozen,
)
from resync.run.samples import Coverage, Samples, worst
from resync.run.settings import Settings
from resync.run.stages import Stage, stages

R = TypeVar("R")

PHASES: tuple[Phase, ...] = ("baseline", "fault", "recovery", "after")
DECISIVE = (*RTT, "resync_divergence_blocks", "resync_last_cut_timestamp_seconds")
"""Metrics whose coverage of the fault window is stated, and has to suffice."""

WITNESSED = ("resync_published_sequence", "up")
"""What is left of them while a gateway is gone."""


def first(records: Iterable[Record], kind: type[R]) -> R | None:
    return next((r for r in records if isinstance(r, kind)), None)


def every(records: Iterable[Record], kind: type[R]) -> list[R]:
    return [r for r in records if isinstance(r, kind)]


@dataclass(frozen=True, slots=True)
class Case:
    """The records of one run, looked at once."""

    records: Sequence[Record]

    @property
    def settings(self) -> Settings | None:
        joined = first(self.records, TargetJoined)
        return None if joined is None else joined.settings

    @property
    def injected(self) -> FaultInjected | None:
        return first(self.records, FaultInjected)

    @property
    def healed_s(self) -> float | None:
        """When the fault was removed, None while it was not."""
        healed = every(self.records, FaultHealed)
        return min((h.gone_s for h in healed), default=None)

    @property
    def ended_s(self) -> float | None:
        """When the fault was over: removed, or, where it happens once, when it had happened."""
        if self.profile is None or not self.profile.one_shot:
            return self.healed_s
        return self.injected.at if self.injected is not None and self.healed_s is not None else None

    @property
    def frozen(self) -> TargetsFrozen | None:
        return first(self.records, TargetsFrozen)

    @property
    def touched(self) -> frozenset[str]:
        return frozenset(() if self.injected is None else self.injected.pods)

    @property
    def profile(self) -> Profile | None:
        return None if self.frozen is None else PROFILES[self.frozen.fault_kind, self.frozen.action]

    @property
    def fault(self) -> FaultEffect | None:
        return None if self.frozen is None else effect_of(self.frozen.fault_kind, self.frozen.action)

    def samples(self, phase: Phase) -> Samples | None:
        taken = [s for s in every(self.records, SamplesTaken) if s.phase == phase]
        return Samples(taken[-1]) if taken else None

    def context(self, phase: Phase) -> Context | None:
        frozen, settings = self.frozen, self.settings
        if frozen is None or settings is None:
            return None
        stood_s = self.healed_s - self.injected.created_s if self.healed_s and self.injected else 0.0
        return Context(
            settings=settings,
            engines=frozen.engines,
            gateways=frozen.gateways,
            phase=phase,
            healed_s=self.ended_s,
            profile=self.profile or DELAY,
            touched=self.touched,
            stood_s=stood_s,
        )

    def judgements(self) -> list[Judgement]:
        judged: list[Judgement] = []
        for phase in PHASES:
            samples, context = self.samples(phase), self.context(phase)
            if samples is not None and context is not None:
                judged += judge_all(samples, context)
        return judged + self.pods() + self.audits()

    def audits(self) -> list[Judgement]:
        audits = [(one, self.context(one.phase)) for one in every(self.records, RoutingAudited)]
        return [judge_audit(one, context) for one, context in audits if context is not None]

    def pods(self) -> list[Judgement]:
        listed = every(self.records, PodsListed)
        allowed = Pods.SAME if self.profile is None else self.profile.pods
        told = [
            *((one.phase, one.pods, listed[0].pods, "engine") for one in listed),
            *((one.phase, one.gateways, listed[0].gateways, "gateway") for one in listed if one.gateways),
        ]
        return [
            judge_pods(now, before, phase, allowed=allowed, touched=self.touched, what=what)
            for phase, now, before, what in told
        ]

    def spared(self) -> tuple[str, ...]:
        """The pods that should have been killed and by what the API says of them afterwards were not."""
        listed = every(self.records, PodsListed)
        after = [one for one in listed if one.phase == "after"]
        if self.profile is None or not self.profile.one_shot or not after:
            return ()
        then, now = ({p.pod_key: p for p in (*one.pods, *one.gateways)} for one in (listed[0], after[-1]))
        both = sorted(self.touched & then.keys() & now.keys())
        return tuple(pod for pod in both if _is_same(now[pod], then[pod]))

    def effect(self) -> Effect | None:
        baseline, fault, settings = self.samples("baseline"), self.samples("fault"), self.settings
        if baseline is None or fault is None or settings is None or self.frozen is None or self.fault is None:
            return None
        hit = proven_on(self.touched, self.frozen.engines)
        seen = self.fault.judged(baseline, fault, hit, settings)
        alive = tuple(f"{pod} is the same, and was not started again, says the API" for pod in self.spared())
        return replace(seen, doubts=(*seen.doubts, *alive))

    def recovery(self) -> Sequence[Stage]:
        """How the pods the fault was on recovered; nothing to tell without a healed fault."""
        samples, settings, frozen = self.samples("recovery"), self.settings, self.frozen
        context = self.context("recovery")
        if samples is None or settings is None or frozen is None or context is None or self.ended_s is None:
            return ()
        pods = frozen.engines if context.gateway_killed else proven_on(self.touched, frozen.engines)
        found = stages(samples, pods, context, share_min=settings.routed_share_min)
        return tuple(found)

    def coverage(self) -> Coverage | None:
        fault = self.samples("fault")
        if fault is None:
            return None
        gone = self.touched if self.profile is not None and self.profile.one_shot else frozenset()
        of_gateway = self.frozen is not None and not gone.isdisjoint(self.frozen.gateways)
        return worst([fault.coverage(metric, gone) for metric in (WITNESSED if of_gateway else DECISIVE)])


def _is_same(now: PodSeen, before: PodSeen) -> bool:
    return (now.uid, now.restarts) == (before.uid, before.restarts)
