"""One fault, from creation to being gone.

`apply` creates it under the run's label, `await_injected` waits until the mesh says that every target has it,
`heal` deletes it and waits until it is gone. What a crash leaves behind is the subject of
`resync.cluster.residues`. Each step tells apart "it did not happen" and "it may have happened": after an
answer that never came, `apply` looks.
"""

import time
from collections.abc import Callable

import msgspec

from resync.cluster import errors
from resync.cluster.connecting import MERGE_PATCH, Cluster, path_of
from resync.cluster.kinds import KINDS
from resync.cluster.manifests import Manifest
from resync.cluster.statuses import FaultWire, Record, failures

RUN_LABEL = "resync.dev/run"
MANAGED_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "resync"
POLL_S = 0.05
LOOKS_MAX = 3


class AppliedFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that exists.

    `created_s` is its creationTimestamp (whole seconds): `duration_s` counts from it.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    run_id: str
    created_s: float
    duration_s: float

    @property
    def expires_s(self) -> float:
        """Epoch seconds at which the mesh ends it by itself."""
        return self.created_s + self.duration_s

    @property
    def path(self) -> str:
        """Where the API keeps it."""
        return KINDS[self.kind].path(self.namespace, self.name)

    def __str__(self) -> str:
        """How messages name it."""
        return f"{self.kind} {self.namespace}/{self.name}"


class InjectedFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that the mesh reports as injected on every target; one record per target and side."""

    applied: AppliedFault
    records: tuple[Record, ...]


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


def apply(cluster: Cluster, manifest: Manifest, *, run_id: str) -> AppliedFault:
    """The created fault, labelled as that run's. Raises FaultExistsError, RefusedError, ClusterError.

    Raises NoAnswerError or ServerFailedError only when it was looked for afterwards and not found, or could
    not be looked for: `definite` tells which.
    """
    body = manifest.body()
    metadata = body["metadata"]
    metadata["namespace"] = manifest.namespace
    metadata["labels"] = {**(metadata.get("labels") or {}), RUN_LABEL: run_id, MANAGED_LABEL: MANAGED_BY}
    try:
        made = cluster.send("POST", manifest.row.path(manifest.namespace), body, FaultWire)
    except errors.AlreadyExistsError as problem:
        raise _exists(cluster, manifest) from problem
    except errors.NotFoundError as problem:
        raise errors.MeshMissingError(
            f"{cluster.host} does not take a {manifest.kind} in namespace {manifest.namespace} ({problem}):"
            " install"
            " Chaos Mesh, or check that this is the cluster you mean"
        ) from problem
    except errors.ClusterError as problem:
        if problem.definite:
            raise
        made = _look(cluster, manifest, run_id, problem)
    return _applied(made, manifest.kind, manifest.duration_s)


def _applied(made: FaultWire, kind: str, duration_s: float) -> AppliedFault:
    return AppliedFault(
        kind=kind,
        namespace=made.metadata.namespace,
        name=made.metadata.name,
        uid=made.metadata.uid,
        run_id=(made.metadata.labels or {}).get(RUN_LABEL, ""),
        created_s=made.created_s,
        duration_s=duration_s,
    )


def _exists(cluster: Cluster, manifest: Manifest) -> errors.FaultExistsError:
    what = f"{manifest.kind} {manifest.namespace}/{manifest.name} is already there, so nothing was injected"
    try:
        found = cluster.get(manifest.row.path(manifest.namespace, manifest.name), FaultWire)
    except errors.ClusterError:
        return errors.FaultExistsError(f"{what}; whose it is could not be read: try again")
    run = (found.metadata.labels or {}).get(RUN_LABEL)
    if run is None:
        return errors.FaultExistsError(f"{what}; it is not one of ours: delete it, or choose another name")
    return errors.FaultExistsError(f"{what}; run {run} left it there: `resync sweep` removes it")


def _look(cluster: Cluster, manifest: Manifest, run_id: str, cause: errors.ClusterError) -> FaultWire:
    """After a create without an answer: the object if it was made after all, else `cause`, made definite."""
    path = manifest.row.path(manifest.namespace, manifest.name)
    for _ in range(LOOKS_MAX):
        try:
            found = cluster.get(path, FaultWire)
        except errors.NotFoundError:
            cause.definite = True
            raise cause from None
        except errors.ClusterError:
            continue
        if (found.metadata.labels or {}).get(RUN_LABEL) == run_id:
            return found
        raise _exists(cluster, manifest) from cause
    raise cause


def await_injected(
    cluster: Cluster,
    applied: AppliedFault,
    timeout_s: float,
    *,
    on_progress: Callable[[str], None] | None = None,
) -> InjectedFault:
    """The fault once every target has it: AllInjected, and each record injected at least once.

    Raises NotInjectedError at once when the mesh selected no pod, when the fault was replaced, deleted or
    expired meanwhile, and after `timeout_s` with what the mesh said of each target; the fault is then still
    there. Raises ClusterError. `on_progress` is told of failed reads that were survived.
    """
    deadline = time.monotonic() + timeout_s
    seen: FaultWire | None = None
    while True:
        try:
            seen = cluster.get(applied.path, FaultWire)
        except errors.NotFoundError as problem:
            raise errors.NotInjectedError(f"{applied} was deleted before it took effect") from problem
        except errors.ClusterError as problem:
            if not problem.retryable or time.monotonic() >= deadline:
                raise
            if on_progress is not None:
                on_progress(str(problem))
        else:
            if seen.injected:
                return InjectedFault(applied=applied, records=seen.records)
            _refuse_hopeless(cluster, applied, seen)
        if time.monotonic() >= deadline:
            raise errors.NotInjectedError(_not_in_time(applied, seen, timeout_s))
        time.sleep(POLL_S)


def _refuse_hopeless(cluster: Cluster, applied: AppliedFault, seen: FaultWire) -> None:
    if seen.metadata.uid != applied.uid:
        raise errors.NotInjectedError(f"{applied} was replaced by another object of that name")
    if seen.metadata.deletion_timestamp is not None:
        raise errors.NotInjectedError(f"{applied} is being deleted by somebody else")
    if seen.desired_phase == "Stop":
        raise errors.NotInjectedError(
            f"{applied} was over before every target had it: {applied.duration_s:g} s counted from its"
            " creation,"
            " or it was paused"
        )
    if seen.status is not None and not seen.records and _selected_nobody(cluster, applied):
        raise errors.NotInjectedError(
            f"{applied}: the mesh says that no pod is selected; it was resolved to pods before, so compare"
            " the"
            " namespaces it may touch (chaos-mesh.org/inject) with the selector"
        )


def _not_in_time(applied: AppliedFault, seen: FaultWire | None, timeout_s: float) -> str:
    opening = f"{applied} was not injected on every target within {timeout_s:g} s"
    if seen is None:
        return f"{opening}: it could not be read"
    if seen.status is None:
        return f"{opening}: no controller has touched it; is Chaos Mesh running?"
    states = "; ".join(f"{record.id} is {record.phase}" for record in seen.records) or "no target was chosen"
    said = "; ".join(failures(seen.records)) or "no attempt was reported as failed"
    return f"{opening}: {states}; {said}"


class _Reference(msgspec.Struct, frozen=True):
    uid: str = ""


class _EventWire(msgspec.Struct, frozen=True, rename="camel"):
    involved_object: _Reference = _Reference()
    reason: str = ""
    message: str = ""


class _EventListWire(msgspec.Struct, frozen=True):
    items: tuple[_EventWire, ...] = ()


def _selected_nobody(cluster: Cluster, applied: AppliedFault) -> bool:
    path = path_of("api", "v1", "namespaces", applied.namespace, "events")
    query = {"fieldSelector": f"involvedObject.uid={applied.uid}"}
    try:
        found = cluster.get(path, _EventListWire, query)
    except errors.RefusedError:
        # Reading events is a right that a run may lack; the time limit then says the same, later.
        return False
    return any(
        event.involved_object.uid == applied.uid and "no pod is selected" in event.message
        for event in found.items
    )


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
        f"{opening}: held by {held}; {said}. Next: `resync sweep --force`, which may leave rules in the pods"
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
