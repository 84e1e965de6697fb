"""What an experiment asserts, and how each assertion is judged from raw samples.

Pure: samples and settings in, judgement out.

A judgement is one of four things, worst last when several are merged: *held*; *not exercised* (too little
happened for the claim to mean anything: its floor); *unmeasured* (what would decide it is missing, stale or
partial); *breached*, with a finding that names kind, pod and count. A breach outranks the rest: half a
measurement that shows one wrong block has shown it. Where a limit falls between two histogram buckets the
count is an interval too, and what may or may not exceed the limit is unmeasured, not held.

What was timed while the runner itself stood still is left out of the timed claims: a laptop that went to
sleep is no defect of the system. Wrong blocks stay wrong however slow the clock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from resync.run.observations import Phase
from resync.run.profiles import DELAY, Profile, Scope
from resync.run.samples import Samples
from resync.run.settings import Settings, scaled_floor


class Outcome(StrEnum):
    """What a claim came to."""

    HELD = "held"
    NOT_EXERCISED = "not exercised"
    UNMEASURED = "unmeasured"
    BREACHED = "breached"

    @property
    def rank(self) -> int:
        """Position in the merge order, worst highest."""
        return list(Outcome).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was wrong, where, how much."""

    kind: str
    pod_key: str
    count: float

    def __str__(self) -> str:
        """For the sentence a person reads."""
        return f"{self.count:g} {self.kind} on {self.pod_key}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One claim in one phase."""

    claim: str
    phase: Phase
    outcome: Outcome
    value: float | None
    limit: float
    unit: str
    detail: str
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a judge has to know besides samples."""

    settings: Settings
    engines: Sequence[str]
    gateways: Sequence[str]
    phase: Phase
    healed_s: float | None = None
    """When the fault was over: removed, or, where it happens once, when it had happened."""

    profile: Profile = DELAY
    touched: frozenset[str] = frozenset()
    """Pods the fault was on, as pod_keys."""

    stood_s: float = 0.0
    """How long the fault stood."""

    excused: frozenset[str] = frozenset()
    """Pods that the claim under judgement says nothing about."""

    def of(self, scope: Scope) -> "Context":
        """The same for the engines in that scope only."""
        if scope is Scope.EVERY:
            return self
        wanted = scope is Scope.TOUCHED
        engines = [pod for pod in self.engines if (pod in self.touched) is wanted]
        return replace(self, engines=engines, excused=frozenset(self.engines) - frozenset(engines))

    @property
    def gateway_killed(self) -> bool:
        """Whether a gateway was killed, so that nothing can be asked of it for a while."""
        return self.profile.one_shot and not self.touched.isdisjoint(self.gateways)

    @property
    def blind_s(self) -> float:
        """How much longer than usual the audit may be blind in this phase."""
        return self.profile.blind_s if self.phase in {"fault", "recovery"} else 0.0

    @property
    def added_ms(self) -> float:
        """What the fault itself may add to an event's age in this phase."""
        slow = self.faulted and self.profile.slows_events
        return self.settings.latency_ms + self.settings.jitter_ms if slow else 0.0

    @property
    def convergence_limit_s(self) -> float:
        """How long after the fault everything must be right again."""
        late_s = self.profile.late_s(self.stood_s, self.settings.restart_limit_s)
        return self.settings.convergence_limit_s + late_s

    @property
    def faulted(self) -> bool:
        """Whether the fault stands in this phase."""
        return self.phase == "fault"

    def floor(self, stated: int, window_s: float) -> int:
        """A floor for this phase: the stated one, scaled, under the fault; one of anything elsewhere."""
        return scaled_floor(stated, window_s) if self.faulted else 1


@dataclass(frozen=True, slots=True)
class Part:
    """The outcome for one pod (or one aspect) of a claim."""

    outcome: Outcome
    detail: str
    value: float | None = None
    finding: Finding | None = None


Judge = Callable[[Samples, Context], Iterable[Part]]


def breach(found: Finding, told: str, value: float) -> Part:
    """A breach: its sentence begins with kind, pod and count of what was found; `told` goes on from there."""
    return Part(Outcome.BREACHED, f"{found}{told}", value, found)


def absent(pod: str, what: str) -> Part:
    """The part of a claim that cannot be judged because nothing was sampled."""
    return Part(Outcome.UNMEASURED, f"no {what} of {pod} was sampled")
