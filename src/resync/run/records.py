"""Every kind of record that the evidence of a run is made of.

Each kind is one frozen type below; `RECORD_KINDS` is derived from their union, and the tests that kill a run
"at every step" are parametrised by it, so a new kind is covered by existing.

Order of a healthy run: see HEALTHY_KINDS. Of the others, TROUBLE_KINDS appear when something went wrong,
and any of them keeps a run from passing, except residue of an earlier run that was swept and stalls nothing
decisive fell into.
"""

from typing import Literal, get_args

import msgspec

from resync.run.observations import Phase, PodSeen, ProbeSeen, PromptAsked, Series
from resync.run.settings import Settings

Healer = Literal["method", "rollback", "control", "exit"]


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=_kebab):
    at: float
    """Seconds since the epoch, on the clock of the machine that ran the experiment."""


class RunStarted(_Record, frozen=True, kw_only=True):
    """The control is armed: from here the process exits 2 until a verdict says otherwise."""

    run: str
    experiment: str
    source: str
    pid: int
    versions: dict[str, str]


class TargetJoined(_Record, frozen=True, kw_only=True):
    """Where the run happens, and with which settings."""

    target: str
    lab_started_here: bool
    settings: Settings
    api_server: str


class LeaseHeld(_Record, frozen=True, kw_only=True):
    """The namespace is ours: no other run of this tool is in it."""

    namespace: str
    holder: str


class TargetsFrozen(_Record, frozen=True, kw_only=True):
    """The pods of this run, resolved before the fault; `sources` get the fault, `peers` are its other end."""

    sources: list[str]
    peers: list[str]
    gateways: list[str]
    engines: list[str]
    fault_kind: str
    action: str


class CheckPassed(_Record, frozen=True, kw_only=True):
    """One condition of the preflight, with what was seen."""

    check: str
    detail: str


class PodsListed(_Record, frozen=True, kw_only=True):
    """The engines' pods in one phase, and the gateways'."""

    phase: Phase
    pods: list[PodSeen]
    gateways: list[PodSeen] = []


class SamplesTaken(_Record, frozen=True, kw_only=True):
    """The raw samples one phase is judged from.

    `instrument` lists intervals in which the runner itself stood still.
    """

    phase: Phase
    window: tuple[float, float]
    interval_s: float
    series: list[Series]
    instrument: list[tuple[float, float]]


class HypothesisChecked(_Record, frozen=True, kw_only=True):
    """What Chaos Toolkit concluded from the hypothesis, before or after the method."""

    phase: Phase
    met: bool
    probes: list[ProbeSeen]


class FaultPlanned(_Record, frozen=True, kw_only=True):
    """What is about to be created, on disk before it is: whoever finds this record knows what to look for."""

    name: str
    namespace: str
    plural: str
    fault_kind: str
    duration_s: float


class FaultInjected(_Record, frozen=True, kw_only=True):
    """The mesh reports the fault injected on every target, and says when it ends by itself."""

    name: str
    created_s: float
    expires_s: float
    pods: list[str]


class EffectProven(_Record, frozen=True, kw_only=True):
    """The fault was seen on the data path: at its start, or just before it was healed."""

    stage: Literal["start", "end"]
    pods: list[str]


class WindowObserved(_Record, frozen=True, kw_only=True):
    """The interval that is judged.

    `looks` is how often the runner looked, `present` whether the fault stood in each.
    """

    window: tuple[float, float]
    looks: int
    present: bool


class FaultHealed(_Record, frozen=True, kw_only=True):
    """The fault is gone from the API.

    `path_back_s` is when the data path was seen without it (null: not looked).
    """

    name: str
    by: Healer
    requested_s: float
    gone_s: float
    path_back_s: float | None


class ClaimJudged(_Record, frozen=True, kw_only=True):
    """What a claim came to when it was judged. Kept for readers: the verdict judges the raw samples again."""

    phase: Phase
    claim: str
    outcome: str
    value: float | None
    limit: float
    unit: str
    detail: str


class RoutingAudited(_Record, frozen=True, kw_only=True):
    """What the gateway did with prompts that one engine held; only where an experiment asks for it."""

    phase: Phase
    prompts: list[PromptAsked]


class ResidueChecked(_Record, frozen=True, kw_only=True):
    """What of this run was still in the cluster at its end; empty is the promise."""

    left: list[str]


class LeaseReleased(_Record, frozen=True, kw_only=True):
    """The namespace is free again."""

    namespace: str


class VerdictGiven(_Record, frozen=True, kw_only=True):
    """The verdict as it was printed.

    A convenience: `resync verdict` computes it again from the other records.
    """

    verdict: str
    reason: str


class RunEnded(_Record, frozen=True, kw_only=True):
    """Last record of a run that reached its end. A file without it proves nothing."""

    exit_code: int


class VoidFound(_Record, frozen=True, kw_only=True):
    """A reason why this run proves nothing, with the next step for whoever reads it."""

    source: str
    reason: str
    next_step: str


class ActivityFailed(_Record, frozen=True, kw_only=True):
    """An activity raised: ours or anybody's."""

    activity: str
    section: str
    error: str


class HookFailed(_Record, frozen=True, kw_only=True):
    """A hook of the control raised. Chaos Toolkit would have swallowed it."""

    hook: str
    error: str


class SignalReceived(_Record, frozen=True, kw_only=True):
    """A signal told the run to stop."""

    signal: str
    count: int


class Crashed(_Record, frozen=True, kw_only=True):
    """An exception left Chaos Toolkit itself (a tolerance that cannot be evaluated, for example)."""

    error: str
    trace: str


class Stalled(_Record, frozen=True, kw_only=True):
    """The runner itself stood still: what was timed meanwhile says nothing about the system."""

    window: tuple[float, float]


class ResidueSwept(_Record, frozen=True, kw_only=True):
    """Expired faults of an earlier run, removed before this one."""

    names: list[str]


Healthy = (
    RunStarted
    | TargetJoined
    | LeaseHeld
    | TargetsFrozen
    | CheckPassed
    | SamplesTaken
    | PodsListed
    | ClaimJudged
    | HypothesisChecked
    | FaultPlanned
    | FaultInjected
    | EffectProven
    | WindowObserved
    | FaultHealed
    | ResidueChecked
    | LeaseReleased
    | VerdictGiven
    | RunEnded
)
Trouble = VoidFound | ActivityFailed | HookFailed | SignalReceived | Crashed | Stalled | ResidueSwept
Asked = RoutingAudited
"""What is written only where the experiment asks for it."""

Record = Healthy | Asked | Trouble


def kind_of(record: Record | type[Record]) -> str:
    """The tag of a record or of a record type, as written in the file."""
    return str(record.__struct_config__.tag)


HEALTHY_KINDS: tuple[str, ...] = tuple(kind_of(t) for t in get_args(Healthy))
"""Kinds a healthy run writes, in the order in which each first appears."""

TROUBLE_KINDS: tuple[str, ...] = tuple(kind_of(t) for t in get_args(Trouble))
RECORD_KINDS: tuple[str, ...] = (*HEALTHY_KINDS, kind_of(RoutingAudited), *TROUBLE_KINDS)
