"""The evidence of a run: an append-only file of records, from which the verdict is computed and can be again.

One JSON object a line, flushed to the disk before the run goes on, so that whatever happens to the process,
what it had seen is there. A line torn by a crash is the last one, and is left out by the reader: what was not
on disk was not seen. Each kind of record is one frozen type below; `RECORD_KINDS` is derived from their
union, and the tests that kill a run "at every step" are parametrised by it, so a new kind is covered by
existing.

Order of a healthy run: see HEALTHY_KINDS. Of the others, TROUBLE_KINDS appear when something went wrong,
and any of them keeps a run from passing, except residue of an earlier run that was swept and stalls nothing
decisive fell into.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import msgspec

from resync.run.errors import EvidenceError
from resync.run.settings import Settings

RUNS_DIR_ENV = "RESYNC_RUNS_DIR"
FILE_NAME = "evidence.jsonl"

Phase = Literal["baseline", "before", "fault", "recovery", "after"]
Healer = Literal["method", "rollback", "control", "exit"]


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=_kebab):
    at: float
    """Seconds since the epoch, on the clock of the machine that ran the experiment."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Raw samples of one time series, times in seconds on the clock of whoever scraped."""

    metric: str
    labels: dict[str, str]
    points: list[tuple[float, float]]


class PodSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One pod as the API server reported it."""

    pod_key: str
    phase: str
    ready: bool
    restarts: int
    uid: str


class ProbeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One probe of a hypothesis: whether it answered, and whether the answer was within its tolerance."""

    name: str
    answered: bool
    within: bool
    detail: str = ""


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


class PromptAsked(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt of an audit: `pod_key` computed it, then the gateway was asked.

    `tokens`: of its full blocks; `target`: the pod_key that the gateway says it chose, `selection` why, both
    empty where it does not say; `cached`: tokens reused there. Where that was another pod, the first one was
    asked again: `verified` whether it answered, `held` what it reused. None: not told.
    """

    pod_key: str
    tokens: int
    status: int
    target: str
    selection: str
    cached: int | None
    verified: bool
    held: int | None


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

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def runs_dir() -> Path:
    """Where runs are kept: `$RESYNC_RUNS_DIR`, else `.resync/runs` below the working directory."""
    return Path(os.environ.get(RUNS_DIR_ENV) or Path(".resync") / "runs")


class EvidenceFile:
    """The append-only file of one run. Thread-safe; each append is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises EvidenceError when it cannot be, or exists: a run never continues another's evidence.
        """
        self.path = path
        # Re-entrant: a signal handler notes its signal, and may have interrupted this thread in `append`.
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o644)
        except OSError as error:
            raise EvidenceError(
                f"cannot create the evidence file {path}: {error.strerror}",
                next_step=f"free the path or point {RUNS_DIR_ENV} at a directory you can write to",
            ) from error

    def append(self, record: Record) -> None:
        """Put one record on disk. Raises EvidenceError when the disk refuses it."""
        line = _ENCODER.encode(record) + b"\n"
        try:
            with self._lock:
                _write_all(self._descriptor, line)
                os.fsync(self._descriptor)
        except OSError as error:
            raise EvidenceError(
                f"cannot write evidence to {self.path}: {error.strerror}", next_step="make room on that disk"
            ) from error

    def read(self) -> list[Record]:
        """Every record written so far."""
        return read(self.path)

    def close(self) -> None:
        """Give the descriptor back; appending afterwards is an error of the caller."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        """The file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _write_all(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])


def read(path: Path) -> list[Record]:
    """The records in an evidence file, without a torn last line.

    Raises EvidenceError when there is no such file, or when a line before the last cannot be read: that is
    not a crash but a file somebody changed, or one of another version.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EvidenceError(
            f"no evidence to read at {path}: {error.strerror}",
            next_step="name a run that exists: resync verdict RUN",
        ) from error
    return list(_decode(raw, path))


def _decode(raw: bytes, path: Path) -> Iterator[Record]:
    *whole, _torn = raw.split(b"\n")
    for number, line in enumerate(whole, start=1):
        try:
            yield _DECODER.decode(line)
        except msgspec.DecodeError as error:
            raise EvidenceError(
                f"{path}, line {number}, is not a record: {error}",
                next_step="judge the run with the version that wrote it",
            ) from error


def latest_run(directory: Path) -> Path:
    """The evidence file of the newest run below `directory`. Raises EvidenceError when there is none."""
    files = sorted(directory.glob(f"*/{FILE_NAME}"), key=lambda p: p.stat().st_mtime)
    if not files:
        raise EvidenceError(
            f"no run in {directory}", next_step="run an experiment first, from this directory"
        )
    return files[-1]
