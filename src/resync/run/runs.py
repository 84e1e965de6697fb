"""The run in progress: its id, its evidence, its world, and how far it has come.

There is one per process, since Chaos Toolkit runs one experiment per process and calls our hooks and
activities by module path: they meet here. `current(run_id)` is how an activity finds it, and refuses to do
anything without one.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from resync.kits.clocks import Clock, SystemClock
from resync.run import claims, evidence, records
from resync.run.effects import FaultEffect, effect_of
from resync.run.errors import EvidenceError, NotArmedError, RunError, UnmeasuredError
from resync.run.evidence import EvidenceFile
from resync.run.exits import EXIT
from resync.run.judgements import Context, Judgement, Outcome
from resync.run.observations import Phase, PodSeen
from resync.run.profiles import DELAY, PROFILES, Profile, proven_on
from resync.run.records import Record
from resync.run.samples import Samples
from resync.run.settings import Settings, Target
from resync.run.signals import Signals
from resync.run.stalls import StallWatch
from resync.run.worlds import FaultPlan, Hit, Injected, World

NOT_ARMED = (
    "no run is armed: the control resync.run.control is missing from this experiment, or failed. "
    "Nothing was touched"
)

MEND_FIRST = "mend what stopped the run first (`resync verdict` names it), then run again"
TAKEN_BY: Mapping[Phase, str] = {
    "fault": "let the method end the fault (actions.chaos_mesh.heal, actions.load.calm) before this probe",
    "recovery": "let the method call probes.recovery.converged_s before this probe",
}
"""What an experiment lacks that asks for samples which nobody has taken."""


class Run:
    """One run. Hooks and activities move it on; every step of it is in the evidence first."""

    def __init__(self, file: EvidenceFile, run_id: str, *, clock: Clock | None = None) -> None:
        """Of a fresh evidence file."""
        self.file = file
        self.id = run_id
        self.clock = clock or SystemClock()
        self.signals = Signals(self._signal_noted)
        self.stalls = StallWatch(self._stall_noted)
        self.target: Target | None = None
        self.settings: Settings | None = None
        self.world: World | None = None
        self.hit: Hit | None = None
        self.effect: FaultEffect | None = None
        self.profile: Profile = DELAY
        self.engines: Sequence[PodSeen] = ()
        self.gateways: Sequence[PodSeen] = ()
        self.plan: FaultPlan | None = None
        self.injected: Injected | None = None
        self.injected_at_s: float | None = None
        self.proven_from_s: float | None = None
        self.observed: tuple[float, float] | None = None
        self.healed_s: float | None = None
        self.path_back_s: float | None = None
        self.converged_at_s: float | None = None
        self.samples: dict[Phase, Samples] = {}
        self.leased = False
        self.begun = False

    # --- evidence

    def now_s(self) -> float:
        """Wall time."""
        return self.clock.wall_s()

    def note(self, record: Record) -> None:
        """Put a record into the evidence. Raises EvidenceError."""
        self.file.append(record)

    def void(self, source: str, reason: str, next_step: str) -> None:
        """Note why this run proves nothing."""
        self.note(records.VoidFound(at=self.now_s(), source=source, reason=reason, next_step=next_step))

    def void_for(self, source: str, error: RunError) -> None:
        """Note an error of ours as the reason."""
        self.void(source, str(error), error.next_step)

    def _signal_noted(self, name: str, count: int) -> None:
        # In a signal handler nothing may raise: a full disk must not turn a Ctrl-C into a traceback.
        try:
            self.note(records.SignalReceived(at=self.now_s(), signal=name, count=count))
        except EvidenceError:
            return

    def _stall_noted(self, window: tuple[float, float]) -> None:
        try:
            self.note(records.Stalled(at=self.now_s(), window=window))
        except (EvidenceError, ValueError):
            return

    # --- what must be there by now

    def must_settings(self) -> Settings:
        """The settings. Raises NotArmedError before the run has begun."""
        if self.settings is None:
            raise _not_begun()
        return self.settings

    def must_world(self) -> World:
        """The world. Raises NotArmedError before the run has begun."""
        if self.world is None:
            raise _not_begun()
        return self.world

    def must_effect(self) -> FaultEffect:
        """How this run's fault is told from its absence. Raises NotArmedError before the preflight."""
        if self.effect is None:
            raise _not_begun()
        return self.effect

    def frozen_for(self, plan: FaultPlan, hit: Hit) -> None:
        """Fix what this run is about: the kind of fault, and the pods it may hit. Raises RefusedError."""
        self.effect = effect_of(plan.fault_kind, plan.action)
        self.profile = PROFILES[plan.fault_kind, plan.action]
        self.hit = hit

    def touched(self) -> frozenset[str]:
        """The pods the fault is on; before it stands, those it may hit."""
        if self.injected is not None:
            return frozenset(self.injected.pods)
        return frozenset() if self.hit is None else frozenset((*self.hit.sources, *self.hit.peers))

    def targeted(self) -> tuple[str, ...]:
        """Those whose effect has to be proven."""
        return proven_on(self.touched(), [p.pod_key for p in self.engines])

    def stood_s(self) -> float:
        """How long the fault stood; 0 while it does."""
        if self.injected is None or self.healed_s is None:
            return 0.0
        return self.healed_s - self.injected.created_s

    # --- judging

    def context(self, phase: Phase) -> Context:
        """What a claim has to know in that phase."""
        return Context(
            settings=self.must_settings(),
            engines=[p.pod_key for p in self.engines],
            gateways=[p.pod_key for p in self.gateways],
            phase=phase,
            healed_s=self.injected_at_s if self.profile.one_shot else self.healed_s,
            profile=self.profile,
            touched=self.touched(),
            stood_s=self.stood_s(),
        )

    def judged(self, claim: str, phase: Phase) -> Judgement:
        """The claim, judged on the samples of that phase, noted. Raises UnmeasuredError without samples."""
        samples = self.samples.get(phase)
        if samples is None:
            raise UnmeasuredError(
                f"{claim}: no samples of phase {phase!r} were taken",
                next_step=TAKEN_BY.get(phase, MEND_FIRST),
            )
        judged = claims.judge(claim, samples, self.context(phase))
        if judged is None:
            raise UnmeasuredError(
                f"{claim} says nothing of any engine {phase} this kind of fault",
                next_step="take the probe out of the experiment",
            )
        self.note_judged(judged)
        return judged

    def note_judged(self, judged: Judgement) -> None:
        """Put a judgement into the evidence."""
        self.note(
            records.ClaimJudged(
                at=self.now_s(),
                phase=judged.phase,
                claim=judged.claim,
                outcome=str(judged.outcome),
                value=judged.value,
                limit=judged.limit,
                unit=judged.unit,
                detail=judged.detail,
            )
        )


def _not_begun() -> NotArmedError:
    return NotArmedError("the run has not begun: its preflight did not pass", next_step=MEND_FIRST)


def measured_value(judged: Judgement) -> float:
    """The value of a judgement that was reached. Raises UnmeasuredError for one that was not."""
    if judged.outcome in {Outcome.UNMEASURED, Outcome.NOT_EXERCISED} or judged.value is None:
        raise UnmeasuredError(
            f"{judged.claim}: {judged.detail}",
            next_step="see that observer, load and Prometheus run, then run again",
        )
    return judged.value


_current: list[Run] = []


def new_id() -> str:
    """A run id: when, and a little chance; fit for a label and a file name."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def start(*, experiment: str, source: str, pid: int) -> Run:
    """Arm this process with a new run. Raises EvidenceError when its file cannot be written."""
    run_id = new_id()
    run = Run(EvidenceFile(evidence.runs_dir().absolute() / run_id / evidence.FILE_NAME), run_id)
    _current[:] = [run]
    # Before the first record: Chaos Toolkit's own handler would raise into a hook, where it is swallowed.
    run.signals.install()
    run.note(
        records.RunStarted(
            at=run.now_s(),
            run=run_id,
            experiment=experiment,
            source=source,
            pid=pid,
            versions={name: version(name) for name in ("resync", "chaostoolkit", "chaostoolkit-lib")},
        )
    )
    return run


def armed() -> Run | None:
    """The run of this process, None when no control has armed one."""
    return _current[0] if _current else None


def current(run_id: str, *, begun: bool = True) -> Run:
    """The run an activity belongs to, begun and with that id.

    Raises NotArmedError otherwise, and sees to it that the process cannot exit 0: an activity of ours in an
    experiment without our control is a run without a verdict.
    """
    run = armed()
    if run is None:
        EXIT.arm()
        raise NotArmedError(NOT_ARMED, next_step="declare the control resync.run.control in the experiment")
    if run_id != run.id:
        raise NotArmedError(
            f"this activity was given run id {run_id!r}, the run is {run.id}", next_step="pass ${run_id}"
        )
    if begun and not run.begun:
        raise _not_begun()
    return run


def evidence_path(run: Run) -> Path:
    """Where the evidence of the run is, as an absolute path."""
    return run.file.path
