"""The claims of an experiment: one table of what is asserted, in which phases, against which limit."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from resync.run.absences import avoided, returned
from resync.run.convergences import converged
from resync.run.divergences import divergence, gaps, replays
from resync.run.judgements import Context, Finding, Judge, Judgement, Outcome, Part
from resync.run.ledgers import UNIT, ledger
from resync.run.observations import Phase, PodSeen
from resync.run.performance import apply_latency, request_errors, throughput
from resync.run.profiles import Pods
from resync.run.routings import routed
from resync.run.samples import Samples
from resync.run.timeliness import event_age, event_age_limit_ms, staleness


@dataclass(frozen=True, slots=True)
class Claim:
    """One assertion: how it is judged, against which limit."""

    name: str
    asserts: str
    unit: str
    limit: Callable[[Context], float]
    judge: Judge

    def judged(self, samples: Samples, context: Context) -> Judgement:
        """The worst part decides; among equals the largest value is shown."""
        limit = self.limit(context)
        parts = list(self.judge(samples, context)) or [
            Part(Outcome.UNMEASURED, "nothing to judge was sampled")
        ]
        worst = max(parts, key=lambda p: (p.outcome.rank, -math.inf if p.value is None else p.value))
        return Judgement(
            claim=self.name,
            phase=context.phase,
            outcome=worst.outcome,
            value=worst.value,
            limit=limit,
            unit=self.unit,
            detail=worst.detail,
            finding=worst.finding,
        )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "event-age", "99 of 100 events are applied within delay, jitter and slack", "ms",
        event_age_limit_ms, event_age,
    ),
    Claim(
        "divergence", "no block is missing, phantom, misattributed or mis-hashed at any cut",
        "blocks", lambda _: 0.0, divergence,
    ),
    Claim(
        "staleness", "the gateway is late by a bounded time and number of blocks", "s",
        lambda c: c.settings.staleness_limit_s, staleness,
    ),
    Claim(
        "routed-hits", "prefix hits that truth allows are routed", "share",
        lambda c: c.settings.routed_share_min, routed,
    ),
    Claim("gaps", "every sequence gap is repaired", "gaps", lambda _: 0.0, gaps),
    Claim(
        "apply-latency", "99 of 100 batches are applied within the limit", "ms",
        lambda c: c.settings.apply_latency_limit_ms, apply_latency,
    ),
    Claim(
        "throughput", "so many events are applied a second", "events/s",
        lambda c: c.settings.applied_rate_min, throughput,
    ),
    Claim(
        "request-errors", "hardly a request fails", "share",
        lambda c: c.settings.request_error_share_max, request_errors,
    ),
    Claim(
        "replays", "what was lost is asked for, and a complete answer comes", "failed replays",
        lambda _: 0.0, replays,
    ),
    Claim(
        "avoided", "an engine that is gone is given no requests", "requests lost",
        lambda _: 0.0, avoided,
    ),
    Claim(
        "returned", "what was killed is back in time", "s",
        lambda c: c.settings.restart_limit_s, returned,
    ),
    Claim(
        "ledger", "every batch that was emitted is applied, superseded or provably irrecoverable", UNIT,
        lambda _: 0.0, ledger,
    ),
    Claim(
        "converged", "after the fault every index is right and complete again in time", "s",
        lambda c: c.convergence_limit_s, converged,
    ),
)  # fmt: skip

BY_NAME: Mapping[str, Claim] = {claim.name: claim for claim in CLAIMS}


def judge(name: str, samples: Samples, context: Context) -> Judgement | None:
    """That claim, for the engines it is made of in this phase; None where it says nothing of any."""
    scope = context.profile.asserted(context.phase).get(name)
    scoped = None if scope is None else context.of(scope)
    return BY_NAME[name].judged(samples, scoped) if scoped is not None and scoped.engines else None


def judge_all(samples: Samples, context: Context) -> list[Judgement]:
    """Every claim of the phase, judged."""
    judged = (judge(name, samples, context) for name in context.profile.asserted(context.phase))
    return [one for one in judged if one is not None]


def judge_pods(
    now: Sequence[PodSeen],
    before: Sequence[PodSeen],
    phase: Phase,
    *,
    allowed: Pods = Pods.SAME,
    touched: AbstractSet[str] = frozenset(),
    what: str = "engine",
) -> Judgement:
    """All Running and Ready; none restarted or replaced since `before`, but `touched` as far as `allowed`."""
    known = {p.pod_key: p for p in before}
    wrong = next(_wrong_with(now, known, dict.fromkeys(touched, allowed), what), None)
    running = float(sum(_runs(p) for p in now))
    judged = partial(Judgement, claim=f"{what}s-running", phase=phase, unit=f"{what}s")
    if wrong is not None:
        limit = float(len(known) or len(now))
        return judged(outcome=Outcome.BREACHED, value=running, limit=limit, detail=str(wrong), finding=wrong)
    if not now:
        return judged(outcome=Outcome.UNMEASURED, value=None, limit=1.0, detail=f"no {what} was found")
    detail = f"{len(now)} {what}{'' if len(now) == 1 else 's'} running"
    return judged(outcome=Outcome.HELD, value=running, limit=float(len(now)), detail=detail)


def _wrong_with(
    now: Sequence[PodSeen], before: Mapping[str, PodSeen], allowed: Mapping[str, Pods], what: str
) -> Iterator[Finding]:
    """What is wrong with pods now, what does not run first; `allowed` holds what may have become of some."""
    for pod in now:
        if not _runs(pod):
            yield Finding(
                f"{what} not running ({pod.phase}{'' if pod.ready else ', not ready'})", pod.pod_key, 1
            )
    for pod_key in sorted(before.keys() - {pod.pod_key for pod in now}):
        yield Finding(f"{what} gone", pod_key, 1)
    for pod in now:
        was = before.get(pod.pod_key)
        if was is not None and _changed(pod, was, allowed.get(pod.pod_key, Pods.SAME)):
            yield Finding(f"{what} restarted", pod.pod_key, 1)


def _runs(pod: PodSeen) -> bool:
    return pod.phase == "Running" and pod.ready


def _changed(now: PodSeen, before: PodSeen, allowed: Pods) -> bool:
    if now.uid != before.uid:
        return allowed is not Pods.REPLACED
    return now.restarts != before.restarts and allowed is not Pods.RESTARTED
