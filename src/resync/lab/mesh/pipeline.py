"""The steps one experiment goes through, in order, each a pure function of the object and the time.

    finalizer -> desired phase -> conditions -> records -> clean

Every pass runs all of them; each answers with what to write, or nothing. Conditions come before records, so
they lag one pass behind, as in the real controller, and whoever reads them there must live with it
(chaos-mesh `controllers/common/pipeline`, `controllers/common/{finalizers,desiredphase,condition}`). The
records step, which needs the pods, is in `records`.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from resync.lab.kube import Object
from resync.lab.mesh import notices
from resync.lab.mesh.durations import seconds
from resync.lab.mesh.notices import Notice
from resync.lab.mesh.objects import (
    CLEAN_FINALIZER,
    FINALIZER,
    INJECTED,
    NOT_INJECTED,
    RUN,
    STOP,
    Chaos,
    Condition,
    plain,
)


class Write(msgspec.Struct, frozen=True):
    """A merge-patch of the experiment, and what to tell before and after it succeeded."""

    patch: Object
    before: tuple[Notice, ...] = ()
    after: tuple[Notice, ...] = ()


def finalizer(chaos: Chaos, _: float) -> Write | None:
    """Take the experiment under care, so it cannot vanish with its fault in place."""
    if chaos.deleted or FINALIZER in chaos.metadata.finalizers:
        return None
    patch = {"metadata": {"finalizers": [*chaos.metadata.finalizers, FINALIZER]}}
    return Write(patch, (notices.finalizer_inited(),), (notices.updated("initFinalizers", "finalizer"),))


def remaining_s(chaos: Chaos, now_s: float) -> float | None:
    """Seconds until the duration is over (0 when it is), counted from creation; None when it never ends.

    Time ends nothing that happens once, and a duration that does not parse is none, as in the real controller
    (`controllers/common/desiredphase`).
    """
    if chaos.one_shot:
        return None
    try:
        duration_s = seconds(chaos.spec.duration) if chaos.spec.duration is not None else None
    except ValueError:
        return None
    if duration_s is None:
        return None
    return max(chaos.metadata.creation_timestamp.timestamp() + duration_s - now_s, 0.0)


def desired(chaos: Chaos, now_s: float) -> tuple[str, tuple[Notice, ...]]:
    """Whether the fault should be there now, and the word for why; of what happens once nobody is told."""
    if chaos.deleted:
        return STOP, (notices.DELETED,)
    if chaos.one_shot:
        return RUN, ()
    if remaining_s(chaos, now_s) == 0.0:
        return STOP, (notices.TIME_UP,)
    if chaos.paused:
        return STOP, (notices.PAUSED,)
    return RUN, (notices.STARTED,)


def desired_phase(chaos: Chaos, now_s: float) -> Write | None:
    """Write the desired phase when it changes."""
    phase, why = desired(chaos, now_s)
    if phase == chaos.status.experiment.desired_phase:
        return None
    patch: Object = {"status": {"experiment": {"desiredPhase": phase}}}
    return Write(patch, why, (notices.updated("desiredphase", "desiredPhase"),))


def condition_values(chaos: Chaos) -> Mapping[str, bool]:
    """What the four conditions should say.

    `AllRecovered` is about where the records are, not whether they ever were elsewhere.
    """
    records = chaos.records
    selected = records is not None
    return {
        "Selected": selected,
        "AllInjected": selected and all(record.phase == INJECTED for record in records or ()),
        "AllRecovered": selected and all(record.phase == NOT_INJECTED for record in records or ()),
        "Paused": chaos.paused,
    }


def conditions(chaos: Chaos, _: float) -> Write | None:
    """Write all four conditions when one of them changes. Nobody is told."""
    wanted = {name: str(value) for name, value in condition_values(chaos).items()}
    if wanted == {condition.type: condition.status for condition in chaos.status.conditions}:
        return None
    listed = [plain(Condition(type=name, status=value)) for name, value in wanted.items()]
    return Write({"status": {"conditions": listed, "experiment": plain_phase(chaos)}})


def plain_phase(chaos: Chaos) -> Object:
    """The part of `status.experiment` that must be there whenever there is a status."""
    return {"desiredPhase": chaos.status.experiment.desired_phase}


def clean(chaos: Chaos, _: float) -> Write | None:
    """Let a deleted experiment go once every target is healed, or when forced to.

    All finalizers go, foreign ones too, as in the real controller.
    """
    healed = all(record.phase == NOT_INJECTED for record in chaos.records or ())
    forced = chaos.metadata.annotations.get(CLEAN_FINALIZER) == "forced"
    if not chaos.deleted or not chaos.metadata.finalizers or not (healed or forced):
        return None
    return Write(
        {"metadata": {"finalizers": None}},
        (notices.finalizer_removed(),),
        (notices.updated("initFinalizers", "finalizer"),),
    )


BEFORE_RECORDS: Final = (finalizer, desired_phase, conditions)
