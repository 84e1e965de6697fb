"""One fault, from creation to being gone.

`apply` creates it under the run's label, `await_injected` waits until the mesh says that every target has it,
`heal` (`resync.cluster.healing`) ends it. What a crash leaves behind is the subject of
`resync.cluster.residues`. Each step tells apart "it did not happen" and "it may have happened": after an
answer that never came, `apply` looks.
"""

import time
from collections.abc import Callable

import msgspec

from resync.cluster import errors
from resync.cluster.appliedfaults import MANAGED_BY, MANAGED_LABEL, RUN_LABEL, AppliedFault
from resync.cluster.connecting import Cluster, path_of
from resync.cluster.healing import Escalated, Healed, escalate, heal
from resync.cluster.manifests import Manifest
from resync.cluster.statuses import FaultWire, Record, failures

__all__ = [
    "MANAGED_BY",
    "MANAGED_LABEL",
    "RUN_LABEL",
    "AppliedFault",
    "Escalated",
    "Healed",
    "InjectedFault",
    "apply",
    "await_injected",
    "escalate",
    "heal",
]

POLL_S = 0.05
LOOKS_MAX = 3


class InjectedFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that the mesh reports as injected on every target; one record per target and side."""

    applied: AppliedFault
    records: tuple[Record, ...]


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
