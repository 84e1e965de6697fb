"""The heart of an experiment: each frozen target walks a cycle and never leaves it.

    Not Injected -> [ Not Injected/Wait -> ] Injected -> [ Injected/Wait -> ] Not Injected

A target that must stop while it is still being injected is first injected, then recovered (chaos-mesh
`controllers/common/records/controller.go`). Each kind says what a record needs next (a `Decision`), somebody
else does it and says what came of it (an `Outcome`), and `settle` makes the next record of that. Here is
what all kinds share, and all of it is pure.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from resync.lab.kube import Object
from resync.lab.mesh import notices
from resync.lab.mesh.networks import PodNetworkChaos, PodNetworkSpec
from resync.lab.mesh.notices import Notice
from resync.lab.mesh.objects import (
    INJECTED,
    INJECTED_WAIT,
    NOT_INJECTED,
    NOT_INJECTED_WAIT,
    RUN,
    Chaos,
    Pod,
    Record,
    RecordEvent,
    plain,
)
from resync.lab.mesh.pipeline import Write, plain_phase

EVENTS_MAX: Final = 100


class Operation(StrEnum):
    """Which way a record is going."""

    APPLY = "Apply"
    RECOVER = "Recover"


class World(msgspec.Struct, frozen=True):
    """What the mesh sees around an experiment: pods and their network objects by `namespace/name`."""

    pods: Mapping[str, Pod]
    networks: Mapping[str, PodNetworkChaos]
    opted_in: frozenset[str] = frozenset()


class Stay(msgspec.Struct, frozen=True):
    """Nothing to do, or nothing new to see."""


class Become(msgspec.Struct, frozen=True):
    """The record has got to this phase."""

    operation: Operation
    phase: str


class Fail(msgspec.Struct, frozen=True):
    """It did not work, and is tried again; the record stays in this phase."""

    operation: Operation
    phase: str
    why: str


class Commit(msgspec.Struct, frozen=True):
    """The pod's network object must be written first; `share` None takes our part out of it."""

    operation: Operation
    pod: Pod
    share: PodNetworkSpec | None
    resets: bool = False


class Patch(msgspec.Struct, frozen=True):
    """The pod must be changed by this merge-patch; then the record has arrived."""

    operation: Operation
    pod: Pod
    body: Object


class Delete(msgspec.Struct, frozen=True):
    """The pod must be deleted; then the record has arrived."""

    operation: Operation
    pod: Pod
    grace_s: int


class Kill(msgspec.Struct, frozen=True):
    """One container of the pod must be killed; then the record has arrived."""

    operation: Operation
    pod: Pod
    container: str


class Committed(msgspec.Struct, frozen=True):
    """It has been written, in this generation."""

    operation: Operation
    generation: int


Outcome = Stay | Become | Fail | Committed
Deed = Commit | Patch | Delete | Kill
Decision = Stay | Become | Fail | Deed


def operation_of(record: Record, desired_phase: str) -> Operation | None:
    """Which way the record must go, None when it has arrived."""
    injecting = record.phase.startswith(NOT_INJECTED)
    if record.phase == (INJECTED if desired_phase == RUN else NOT_INJECTED):
        return None
    return Operation.APPLY if injecting else Operation.RECOVER


def arrived(operation: Operation) -> Become:
    """The record has got where the operation leads."""
    return Become(operation, INJECTED if operation is Operation.APPLY else NOT_INJECTED)


def missing(operation: Operation, record: Record) -> Become | Fail:
    """The pod is gone: there is nothing left to recover, and nothing yet to inject."""
    if operation is Operation.RECOVER:
        return arrived(operation)
    return Fail(operation, record.phase, f'Pod "{record.id}" not found')


def settle(record: Record, outcome: Outcome, stamp: str) -> Record:
    """The record after what happened; `stamp` is the time in whole seconds, RFC 3339."""
    match outcome:
        case Stay():
            return record
        case Fail(operation, phase, why):
            event = RecordEvent(type="Failed", operation=operation.value, timestamp=stamp, message=why)
            return _with_event(msgspec.structs.replace(record, phase=phase), event)
        case Committed(operation, _):
            waiting = NOT_INJECTED_WAIT if operation is Operation.APPLY else INJECTED_WAIT
            return msgspec.structs.replace(record, phase=waiting)
        case Become(operation, phase):
            return _counted(msgspec.structs.replace(record, phase=phase), operation, stamp)


def _counted(record: Record, operation: Operation, stamp: str) -> Record:
    event = RecordEvent(type="Succeeded", operation=operation.value, timestamp=stamp)
    if operation is Operation.APPLY and record.phase == INJECTED:
        counted = msgspec.structs.replace(record, injected_count=record.injected_count + 1)
        return _with_event(counted, event)
    if operation is Operation.RECOVER and record.phase == NOT_INJECTED:
        counted = msgspec.structs.replace(record, recovered_count=record.recovered_count + 1)
        return _with_event(counted, event)
    return record


def _with_event(record: Record, event: RecordEvent) -> Record:
    return msgspec.structs.replace(record, events=((*(record.events or ()), event))[-EVENTS_MAX:])


def notice_of(record: Record, outcome: Outcome) -> Notice | None:
    """What to tell about an outcome."""
    match outcome:
        case Fail(operation, _, why):
            return notices.failed(f"{operation.value.lower()} chaos", why)
        case Become(Operation.APPLY, phase) if phase == INJECTED:
            return notices.applied(record.id)
        case Become(Operation.RECOVER, phase) if phase == NOT_INJECTED:
            return notices.recovered(record.id)
        case _:
            return None


def write(chaos: Chaos, before: Sequence[Record], outcomes: Sequence[Outcome], stamp: str) -> Write | None:
    """The patch for all outcomes together, None when nothing changed."""
    after = tuple(settle(record, outcome, stamp) for record, outcome in zip(before, outcomes, strict=True))
    if after == chaos.records:
        return None
    generations = {
        record.id: outcome.generation
        for record, outcome in zip(before, outcomes, strict=True)
        if isinstance(outcome, Committed)
    }
    told = tuple(
        notice
        for record, outcome in zip(before, outcomes, strict=True)
        if (notice := notice_of(record, outcome)) is not None
    )
    experiment: Object = {**plain_phase(chaos), "containerRecords": [plain(record) for record in after]}
    status: Object = {"experiment": experiment}
    if generations:
        status["instances"] = {**chaos.status.instances, **generations}
    return Write({"status": status}, told, (notices.updated("records", "records"),))


def needs_retry(outcomes: Sequence[Outcome]) -> bool:
    """Whether something failed and must be tried again soon."""
    return any(isinstance(outcome, Fail) for outcome in outcomes)
