"""The verdict: a pure function of the records of a run.

Merge order: pass < void < fail. A *breach* is something wrong that was measured after the fault was injected;
one is enough to fail, whatever else went wrong with the run. A *void* is anything that keeps the run from
proving what it set out to prove. What is left passes. Nothing here trusts a stored conclusion: claims, effect
and coverage are computed from the raw samples again, so a verdict can be had from the file of a run that was
killed, and checked by whoever doubts one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from resync.run.cases import PHASES, Case, every, first
from resync.run.effects import Effect
from resync.run.judgements import Judgement, Outcome
from resync.run.records import (
    HEALTHY_KINDS,
    ActivityFailed,
    Crashed,
    EffectProven,
    FaultHealed,
    FaultPlanned,
    HookFailed,
    HypothesisChecked,
    Record,
    ResidueChecked,
    RunEnded,
    RunStarted,
    SamplesTaken,
    SignalReceived,
    TargetJoined,
    VerdictGiven,
    VoidFound,
    WindowObserved,
    kind_of,
)
from resync.run.samples import HOLE_INTERVALS, Coverage
from resync.run.stages import Stage

REPORT_IT = "this is a defect of the tool: report it with the evidence file"
RERUN = "find out what stopped the run, then run it again"


class Verdict(StrEnum):
    """What a run came to."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    VOID = "void"
    FAIL = "fail"

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 2 void."""
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.VOID: 2}[self]


@dataclass(frozen=True, slots=True)
class VoidReason:
    """Why a run proves nothing, and what to do about it."""

    reason: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """The verdict on a run with everything it rests on."""

    verdict: Verdict
    reason: str
    next_step: str
    run: str = ""
    experiment: str = ""
    target: str = ""
    judgements: tuple[Judgement, ...] = ()
    effect: Effect | None = None
    coverage: Coverage | None = None
    recovery: tuple[Stage, ...] = ()
    breaches: tuple[str, ...] = ()
    voids: tuple[VoidReason, ...] = field(default=())

    def sentence(self) -> str:
        """One sentence for people."""
        opening = {
            Verdict.PASS: "The system held",
            Verdict.FAIL: "The system broke",
            Verdict.VOID: "Nothing is proven",
        }
        step = f" Next: {self.next_step}." if self.next_step else ""
        return f"{opening[self.verdict]}: {self.reason.rstrip('.')}.{step}"

    def line(self, evidence: str) -> dict[str, Any]:
        """The machine-readable verdict line, ready for JSON."""
        return {
            "resync": {
                "run": self.run,
                "verdict": str(self.verdict),
                "exit_code": self.verdict.exit_code,
                "target": self.target,
                "experiment": self.experiment,
                "reason": self.reason,
                "next_step": self.next_step,
                "claims": [_claim_line(j) for j in self.judgements],
                "effect": None if self.effect is None else _effect_line(self.effect),
                "coverage": None if self.coverage is None else round(self.coverage.share, 4),
                "recovery": [_stage_line(stage) for stage in self.recovery],
                "breaches": list(self.breaches),
                "voids": [v.reason for v in self.voids],
                "evidence": evidence,
            }
        }


def _claim_line(judged: Judgement) -> dict[str, Any]:
    return {
        "claim": judged.claim,
        "phase": judged.phase,
        "outcome": str(judged.outcome),
        "value": judged.value,
        "limit": judged.limit,
        "unit": judged.unit,
        "detail": judged.detail,
    }


def _stage_line(stage: Stage) -> dict[str, Any]:
    latest = None if stage.latest_s is None else round(stage.latest_s, 3)
    return {"stage": stage.name, "pod": stage.pod_key, "between_s": [round(stage.earliest_s, 3), latest]}


def _effect_line(effect: Effect) -> dict[str, Any]:
    pods = {p.pod_key: dict(p.measured) for p in effect.pods}
    return {"proven": effect.proven, "pods": pods, "peer_added_ms": effect.peer_added_ms}


def rule(records: Sequence[Record], *, ending: bool = False) -> Ruling:
    """The verdict on the run these records tell of.

    `ending` is True only for the run's own last act, which writes the end record after the verdict is known.
    """
    case = Case(records)
    judgements, effect, coverage = case.judgements(), case.effect(), case.coverage()
    breaches = tuple(_breaches(case, judgements))
    voids = tuple(_voids(case, judgements, effect, coverage, ending=ending))
    verdict, reason, next_step = _merged(case, breaches, voids, judgements)
    started, joined = first(records, RunStarted), first(records, TargetJoined)
    return Ruling(
        verdict=verdict,
        reason=reason,
        next_step=next_step,
        run=started.run if started else "",
        experiment=started.experiment if started else "",
        target=joined.target if joined else "",
        judgements=tuple(judgements),
        effect=effect,
        coverage=coverage,
        recovery=tuple(case.recovery()),
        breaches=breaches,
        voids=voids,
    )


def _merged(
    case: Case, breaches: Sequence[str], voids: Sequence[VoidReason], judgements: Sequence[Judgement]
) -> tuple[Verdict, str, str]:
    if breaches:
        more = f" (and {len(breaches) - 1} more)" if len(breaches) > 1 else ""
        return Verdict.FAIL, breaches[0] + more, ""
    if voids:
        return Verdict.VOID, voids[0].reason, voids[0].next_step
    return Verdict.PASS, _held(case, judgements), ""


def _held(case: Case, judgements: Sequence[Judgement]) -> str:
    settings, fault, effect = case.settings, case.samples("fault"), case.fault
    if settings is None or fault is None or effect is None:
        raise AssertionError("a run without settings or samples cannot pass")
    said = "; ".join(j.detail for j in judgements if j.phase == "fault")
    return f"under {effect.named(settings, sorted(case.touched))}, for {fault.window_s:.1f} s: {said}"


def _breaches(case: Case, judgements: Sequence[Judgement]) -> Iterator[str]:
    """What was measured to be wrong after the fault was injected, the most telling first."""
    if case.injected is None:
        return
    bad = [j for j in judgements if j.outcome is Outcome.BREACHED and j.phase != "baseline"]
    for judged in sorted(bad, key=lambda j: j.claim != "divergence"):
        yield f"{judged.detail} ({judged.claim}, {judged.phase}; limit {judged.limit:g} {judged.unit})"
    for checked in every(case.records, HypothesisChecked):
        if checked.phase != "before":
            for probe in checked.probes:
                if probe.answered and not probe.within:
                    yield f"after the fault the hypothesis does not hold: {probe.name} ({probe.detail})"


def _voids(
    case: Case,
    judgements: Sequence[Judgement],
    effect: Effect | None,
    coverage: Coverage | None,
    *,
    ending: bool,
) -> Iterator[VoidReason]:
    """What keeps the run from proving anything, the most useful to read first."""
    yield from _said(case.records)
    yield from _unsteady(case, judgements)
    yield from _effect_doubts(case, effect)
    yield from _undecided(judgements)
    yield from _thin(case, coverage)
    yield from _left_behind(case.records)
    yield from _incomplete(case.records, ending=ending)


def _said(records: Sequence[Record]) -> Iterator[VoidReason]:
    """Troubles that were recorded as such."""
    for signal in every(records, SignalReceived)[:1]:
        yield VoidReason(f"{signal.signal} stopped the run", "run it again and let it finish")
    for found in every(records, VoidFound):
        yield VoidReason(found.reason, found.next_step)
    for failed in every(records, HookFailed):
        yield VoidReason(f"the control failed in {failed.hook}: {failed.error}", REPORT_IT)
    for crash in every(records, Crashed):
        yield VoidReason(
            f"Chaos Toolkit crashed: {crash.error}", "correct the experiment file, then run it again"
        )
    for act in every(records, ActivityFailed):
        yield VoidReason(
            f"{act.section}: {act.activity!r} failed: {act.error}", "repair what it needs, then run again"
        )


def _unsteady(case: Case, judgements: Sequence[Judgement]) -> Iterator[VoidReason]:
    step = "the system was not steady before the fault: repair it, or let it settle, and run again"
    for judged in judgements:
        if judged.phase == "baseline" and judged.outcome is Outcome.BREACHED:
            yield VoidReason(f"not steady before the fault: {judged.detail}", step)
    for checked in every(case.records, HypothesisChecked):
        for probe in checked.probes:
            if checked.phase == "before" and not probe.within:
                yield VoidReason(f"not steady before the fault: {probe.name} ({probe.detail})", step)
            elif not probe.answered:
                yield VoidReason(f"the probe {probe.name} could not measure: {probe.detail}", RERUN)
        if not checked.met and not checked.probes:
            yield VoidReason(f"no probe of the hypothesis ran {checked.phase} the method", RERUN)


def _effect_doubts(case: Case, effect: Effect | None) -> Iterator[VoidReason]:
    step = (
        "check with `resync preview` which pods the fault hits, and that the mesh really shapes their traffic"
    )
    if case.injected is not None and effect is not None:
        if not effect.pods:
            yield VoidReason("the fault was on no engine", step)
        for doubt in effect.all_doubts:
            yield VoidReason(f"the fault was not effective all along: {doubt}", step)
    for observed in every(case.records, WindowObserved):
        if not observed.present:
            yield VoidReason("the fault was gone before the window ended", step)
        yield from _outside(case, observed)


def _outside(case: Case, observed: WindowObserved) -> Iterator[VoidReason]:
    injected, proofs = case.injected, every(case.records, EffectProven)
    fault = case.samples("fault")
    if injected is None or observed.window[0] < injected.at or observed.window[1] > injected.expires_s:
        yield VoidReason("the window that was observed reaches beyond the fault", REPORT_IT)
    elif {p.stage for p in proofs} < {"start", "end"}:
        yield VoidReason("the effect was not proven at both ends of the window", RERUN)
    elif fault is not None and fault.window != observed.window:
        yield VoidReason("the samples are not those of the window that was observed", REPORT_IT)


_STEPS = {
    Outcome.UNMEASURED: "make sure the observer, the load and Prometheus run and are scraped, then run again",
    Outcome.NOT_EXERCISED: "give it more load or a longer fault (RESYNC_FAULT_DURATION), then run again",
}


def _undecided(judgements: Sequence[Judgement]) -> Iterator[VoidReason]:
    words = {Outcome.UNMEASURED: "could not be measured", Outcome.NOT_EXERCISED: "was not exercised"}
    for judged in judgements:
        if judged.outcome in words:
            reason = f"{judged.claim} {words[judged.outcome]} ({judged.phase}): {judged.detail}"
            yield VoidReason(reason, _STEPS[judged.outcome])


def _thin(case: Case, coverage: Coverage | None) -> Iterator[VoidReason]:
    fault = case.samples("fault")
    if coverage is None or fault is None:
        return
    step = "find out why Prometheus missed scrapes (load of the machine, a target that hangs), then run again"
    if coverage.thin:
        yield VoidReason(f"only {coverage.share:.0%} of the samples of the fault window are there", step)
    elif coverage.longest_hole_s > HOLE_INTERVALS * fault.interval_s:
        yield VoidReason(f"nothing was sampled for {coverage.longest_hole_s:.2f} s of the fault window", step)


def _left_behind(records: Sequence[Record]) -> Iterator[VoidReason]:
    planned, healed = every(records, FaultPlanned), {h.name for h in every(records, FaultHealed)}
    for fault in planned:
        if fault.name not in healed:
            yield VoidReason(
                f"the fault {fault.namespace}/{fault.name} was not seen healed", "run `resync sweep`"
            )
    for checked in every(records, ResidueChecked)[-1:]:
        if checked.left:
            yield VoidReason(f"left behind: {', '.join(checked.left)}", "run `resync sweep`")


_NOT_REQUIRED = {kind_of(VerdictGiven), kind_of(RunEnded)}


def _incomplete(records: Sequence[Record], *, ending: bool) -> Iterator[VoidReason]:
    seen = {kind_of(r) for r in records}
    missing = [k for k in HEALTHY_KINDS if k not in seen and k not in _NOT_REQUIRED]
    phases = {s.phase for s in every(records, SamplesTaken)}
    if missing:
        yield VoidReason(f"the evidence is incomplete: it holds no record of {missing[0]!r}", RERUN)
    for phase in PHASES:
        if phase not in phases:
            yield VoidReason(f"the evidence is incomplete: no samples of phase {phase!r}", RERUN)
    checked = {h.phase for h in every(records, HypothesisChecked)}
    for when in ("before", "after"):
        if when not in checked:
            yield VoidReason(f"the evidence is incomplete: no steady state {when} the method", RERUN)
    if not ending and not (records and isinstance(records[-1], RunEnded)):
        yield VoidReason("the evidence ends before the run did: it was killed or is still running", RERUN)
