"""Ending a fault, and knowing that it is gone.

`heal` deletes exactly the object that was applied and waits until the API has it no more; the mesh lets go of
it only after it recovered every target. `escalate` is for what does not go: a separate decision, because it
can leave rules behind in the pods.
"""

import time

import msgspec

from resync.cluster import errors
from resync.cluster.appliedfaults import AppliedFault
from resync.cluster.connecting import MERGE_PATCH, Cluster
from resync.cluster.statuses import FaultWire, Record, failures

POLL_S = 0.05


class Healed(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that is gone. `already_gone`: there was nothing to delete. `records`: the last ones seen."""

    applied: AppliedFault
    already_gone: bool
    waited_s: float
    records: tuple[Record, ...] = ()


class Escalated(msgspec.Struct, frozen=True, kw_only=True):
    """A fault whose object is gone by force; the rules it set in its targets may remain."""

    applied: AppliedFault
    steps: tuple[str, ...]


def heal(cluster: Cluster, applied: AppliedFault, timeout_s: float) -> Healed:
    """The fault, once it is gone. That it was gone already is fine, and said.

    Only the object with that uid is deleted: a newer one of the same name is somebody else's. Failed calls
    are repeated until `timeout_s`. Raises NotHealedError with what still holds it, ClusterError for what
    repeating cannot cure.
    """
    began = time.monotonic()
    deadline = began + timeout_s
    asked = False
    seen: FaultWire | None = None
    trouble = ""
    while True:
        try:
            asked = asked or _delete(cluster, applied)
            found = _still_there(cluster, applied) if asked else None
        except errors.ClusterError as problem:
            if not problem.retryable:
                raise
            trouble = str(problem)
        else:
            if found is None:
                waited_s = time.monotonic() - began
                records = seen.records if seen else ()
                return Healed(applied=applied, already_gone=not asked, waited_s=waited_s, records=records)
            seen = found
        if time.monotonic() >= deadline:
            raise errors.NotHealedError(_not_gone(applied, seen, timeout_s, trouble))
        time.sleep(POLL_S)


def _delete(cluster: Cluster, applied: AppliedFault) -> bool:
    """Ask for the deletion of exactly that object; False when there is none."""
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": applied.uid}}
    try:
        cluster.request("DELETE", applied.path, body=options)
    except errors.NotFoundError:
        return False
    except errors.ConflictError:
        if _still_there(cluster, applied) is None:
            return False
        raise
    return True


def _still_there(cluster: Cluster, applied: AppliedFault) -> FaultWire | None:
    try:
        found = cluster.get(applied.path, FaultWire)
    except errors.NotFoundError:
        return None
    return found if found.metadata.uid == applied.uid else None


def _not_gone(applied: AppliedFault, seen: FaultWire | None, timeout_s: float, trouble: str) -> str:
    opening = f"{applied} is not gone {timeout_s:g} s after it was asked to end"
    if seen is None:
        return f"{opening}: {trouble}; it ends by itself at its expiry while the mesh's controller lives"
    held = ", ".join(seen.metadata.finalizers or ()) or "nothing"
    said = "; ".join(failures(seen.records)) or "no attempt was reported as failed"
    return (
        f"{opening}: held by {held}; {said}. Next: see that the mesh's controller runs; as a last resort "
        "take its finalizers away with kubectl patch, which may leave rules in the pods"
    )


FORCE = "chaos-mesh.chaos-mesh.org/cleanFinalizer"


def escalate(cluster: Cluster, applied: AppliedFault, timeout_s: float) -> Escalated:
    """Remove a fault that `heal` could not, by the two escapes that work, each for half of `timeout_s`.

    First the mesh is told to let go (annotation `cleanFinalizer: forced`), then the finalizers are taken away
    (Chaos Mesh issues 3929, 4392). Nothing of this undoes rules already set in a pod: delete the pod, or
    check the data path. Raises NotHealedError, ClusterError.
    """
    steps: list[str] = []
    escapes: tuple[tuple[str, dict[str, object]], ...] = (
        (f"annotated {FORCE}=forced", {"annotations": {FORCE: "forced"}}),
        ("took the finalizers away", {"finalizers": None}),
    )
    for said, change in escapes:
        if not _patch(cluster, applied, change):
            break
        steps.append(said)
        try:
            heal(cluster, applied, timeout_s / len(escapes))
        except errors.NotHealedError:
            continue
        break
    if _still_there(cluster, applied) is not None:
        raise errors.NotHealedError(
            f"{applied} outlived every escape: {'; '.join(steps)}; delete its target pods"
        )
    return Escalated(applied=applied, steps=tuple(steps))


def _patch(cluster: Cluster, applied: AppliedFault, change: dict[str, object]) -> bool:
    """Change the metadata of exactly that object; False when it is gone."""
    body = {"metadata": {"uid": applied.uid, **change}}
    try:
        cluster.request("PATCH", applied.path, body=body, content_type=MERGE_PATCH)
    except errors.NotFoundError:
        return False
    except errors.ConflictError:
        return _still_there(cluster, applied) is not None
    return True
