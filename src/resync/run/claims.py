"""The claims of an experiment: one table of what is asserted, in which phases, against which limit."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from resync.run.convergences import converged
from resync.run.divergences import divergence, gaps
from resync.run.evidence import Phase, PodSeen
from resync.run.judgements import Context, Finding, Judge, Judgement, Outcome, Part
from resync.run.routings import routed
from resync.run.samples import Samples
from resync.run.timeliness import event_age, event_age_limit_ms, staleness


@dataclass(frozen=True, slots=True)
class Claim:
    """One assertion: how it is judged, in which phases, against which limit."""

    name: str
    asserts: str
    phases: tuple[Phase, ...]
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
            self.name,
            context.phase,
            worst.outcome,
            worst.value,
            limit,
            self.unit,
            worst.detail,
            worst.finding,
        )


_ALL: tuple[Phase, ...] = ("baseline", "fault", "after")

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "event-age", "99 of 100 events are applied within delay, jitter and slack", _ALL, "ms",
        event_age_limit_ms, event_age,
    ),
    Claim(
        "divergence", "no block is missing, phantom, misattributed or mis-hashed at any cut",
        ("baseline", "fault", "recovery", "after"), "blocks", lambda _: 0.0, divergence,
    ),
    Claim(
        "staleness", "the gateway is late by a bounded time and number of blocks", _ALL, "s",
        lambda c: c.settings.staleness_limit_s, staleness,
    ),
    Claim(
        "routed-hits", "prefix hits that truth allows are routed", _ALL, "share",
        lambda c: c.settings.routed_share_min, routed,
    ),
    Claim("gaps", "every sequence gap is repaired", ("baseline", "recovery"), "gaps", lambda _: 0.0, gaps),
    Claim(
        "converged", "after the fault every index is right and complete again in time", ("recovery",), "s",
        lambda c: c.settings.convergence_limit_s, converged,
    ),
)  # fmt: skip

BY_NAME: Mapping[str, Claim] = {claim.name: claim for claim in CLAIMS}


def of_phase(phase: Phase) -> list[Claim]:
    """The claims that are judged in `phase`."""
    return [claim for claim in CLAIMS if phase in claim.phases]


def judge_all(samples: Samples, context: Context) -> list[Judgement]:
    """Every claim of the phase, judged."""
    return [claim.judged(samples, context) for claim in of_phase(context.phase)]


def judge_pods(now: Sequence[PodSeen], before: Sequence[PodSeen], phase: Phase) -> Judgement:
    """All engines Running and Ready, none restarted or replaced since `before`."""
    known = {p.pod_key: p for p in before}
    bad = [p for p in now if p.phase != "Running" or not p.ready]
    changed = [
        p
        for p in now
        if p.pod_key in known and (p.uid, p.restarts) != (known[p.pod_key].uid, known[p.pod_key].restarts)
    ]
    gone = sorted(known.keys() - {p.pod_key for p in now})
    name, unit = "engines-running", "engines"
    running = float(len(now) - len(bad))
    if not now and not gone:
        return Judgement(name, phase, Outcome.UNMEASURED, None, 1.0, unit, "no engine was found")
    for pod_key, what in (
        *((p.pod_key, f"engine not running ({p.phase}{'' if p.ready else ', not ready'})") for p in bad),
        *((key, "engine gone") for key in gone),
        *((p.pod_key, "engine restarted") for p in changed),
    ):
        found = Finding(what, pod_key, 1)
        return Judgement(
            name, phase, Outcome.BREACHED, running, float(len(known) or len(now)), unit, str(found), found
        )
    return Judgement(name, phase, Outcome.HELD, running, float(len(now)), unit, f"{len(now)} engines running")
