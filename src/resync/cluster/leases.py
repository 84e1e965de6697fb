"""One run per namespace: a Lease object, taken with optimistic concurrency.

The API server decides who came first: a create that conflicts, or an update whose resourceVersion is stale,
has lost. A lease that was not renewed within its own duration is taken over, and that is reported. Expiry
compares the holder's clock with ours, as leases do everywhere; ten seconds are long against the drift of
synchronised clocks. `LeaseRenewer` keeps one alive from a thread, so that a blocked runner does not lose it.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec

from resync.cluster import errors
from resync.cluster.connecting import Cluster, path_of
from resync.cluster.pods import ObjectMeta
from resync.kits.clocks import Clock, SystemClock

NAME = "resync-run"
TTL_S = 10
EVERY_S = 2.0
ATTEMPTS_MAX = 3
STOP_S_MAX = 10.0
_CLOCK = SystemClock()


class HeldLease(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that is ours until `expires_s`.

    `taken_over_from` is the holder whose expired lease it was, or None.
    """

    namespace: str
    holder: str
    uid: str
    resource_version: str
    acquired_s: float
    renewed_s: float
    ttl_s: int
    transitions: int = 0
    taken_over_from: str | None = None

    @property
    def expires_s(self) -> float:
        """Epoch seconds after which anybody may take it."""
        return self.renewed_s + self.ttl_s


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int | None = None


class _Wire(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _Spec = _Spec()

    @property
    def expires_s(self) -> float:
        """When it may be taken over; 0 for one that nobody holds."""
        if not self.spec.holder_identity or self.spec.renew_time is None:
            return 0.0
        return self.spec.renew_time.timestamp() + (self.spec.lease_duration_seconds or 0)


def _path(namespace: str, *name: str) -> str:
    return path_of("apis", "coordination.k8s.io", "v1", "namespaces", namespace, "leases", *name)


def _micro_time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def acquire(
    cluster: Cluster, namespace: str, holder: str, ttl_s: int = TTL_S, *, clock: Clock = _CLOCK
) -> HeldLease:
    """The namespace's lease, held by `holder`. Raises LeaseHeldError, ClusterError."""
    for _ in range(ATTEMPTS_MAX):
        now_s = clock.wall_s()
        found = _read(cluster, namespace)
        if found is not None and now_s < found.expires_s:
            raise _held(found, namespace, now_s)
        wanted = _wanted(namespace, holder, ttl_s, now_s, found)
        try:
            return _write(cluster, wanted)
        except errors.NotFoundError:
            if found is None:
                # There was no lease to lose: what is not there is the namespace.
                raise
        except (errors.AlreadyExistsError, errors.ConflictError):
            # Somebody was faster: what they wrote decides, at the next look.
            continue
    raise errors.LeaseHeldError(
        f"the lease {namespace}/{NAME} changes hands faster than it can be taken; try again",
        holder="unknown",
        expires_s=clock.wall_s(),
    )


def _held(found: _Wire, namespace: str, now_s: float) -> errors.LeaseHeldError:
    holder = found.spec.holder_identity or ""
    left_s = found.expires_s - now_s
    return errors.LeaseHeldError(
        f"run {holder} is at work in namespace {namespace}: wait for it to end, or {left_s:.0f} s if it was"
        " killed",
        holder=holder,
        expires_s=found.expires_s,
    )


def _wanted(namespace: str, holder: str, ttl_s: int, now_s: float, found: _Wire | None) -> HeldLease:
    before = found.spec.holder_identity if found else None
    return HeldLease(
        namespace=namespace,
        holder=holder,
        uid=found.metadata.uid if found else "",
        resource_version=found.metadata.resource_version if found else "",
        acquired_s=now_s,
        renewed_s=now_s,
        ttl_s=ttl_s,
        transitions=(found.spec.lease_transitions or 0) + 1 if found else 0,
        taken_over_from=before or None,
    )


def _read(cluster: Cluster, namespace: str) -> _Wire | None:
    try:
        return cluster.get(_path(namespace, NAME), _Wire)
    except errors.NotFoundError:
        return None


def _write(cluster: Cluster, lease: HeldLease) -> HeldLease:
    """Create it, or replace the version it was read at; the lease with the version the server gave it."""
    metadata = {"name": NAME, "namespace": lease.namespace}
    if lease.resource_version:
        metadata |= {"resourceVersion": lease.resource_version, "uid": lease.uid}
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": lease.ttl_s,
            "acquireTime": _micro_time(lease.acquired_s),
            "renewTime": _micro_time(lease.renewed_s),
            "leaseTransitions": lease.transitions,
        },
    }
    if lease.resource_version:
        made = cluster.send("PUT", _path(lease.namespace, NAME), body, _Wire)
    else:
        made = cluster.send("POST", _path(lease.namespace), body, _Wire)
    meta = made.metadata
    return msgspec.structs.replace(lease, uid=meta.uid, resource_version=meta.resource_version)


def renew(cluster: Cluster, lease: HeldLease, *, clock: Clock = _CLOCK) -> HeldLease:
    """The lease, renewed now. Raises LeaseLostError when it is no longer ours, ClusterError."""
    try:
        made = _write(cluster, msgspec.structs.replace(lease, renewed_s=clock.wall_s()))
    except (errors.NotFoundError, errors.ConflictError):
        return _renew_from(cluster, lease, clock)
    if made.uid != lease.uid:
        # An update of a lease that is gone creates it anew (Kubernetes allows that for leases): undo it.
        release(cluster, made)
        raise _lost(lease, None)
    return made


def _renew_from(cluster: Cluster, lease: HeldLease, clock: Clock) -> HeldLease:
    """After a refused renewal: it may only be that the answer to one of ours was lost."""
    found = _read(cluster, lease.namespace)
    if found is None or found.metadata.uid != lease.uid or found.spec.holder_identity != lease.holder:
        raise _lost(lease, found)
    version = found.metadata.resource_version
    return _write(cluster, msgspec.structs.replace(lease, renewed_s=clock.wall_s(), resource_version=version))


def _lost(lease: HeldLease, found: _Wire | None) -> errors.LeaseLostError:
    taker = found.spec.holder_identity if found else None
    words = f"is now held by {taker}" if taker else "was deleted"
    return errors.LeaseLostError(f"the lease {lease.namespace}/{NAME} {words}: this run may not go on")


def release(cluster: Cluster, lease: HeldLease) -> bool:
    """Give the lease up; False when it was no longer ours to give. Raises ClusterError."""
    found = _read(cluster, lease.namespace)
    if found is None or found.metadata.uid != lease.uid or found.spec.holder_identity != lease.holder:
        return False
    exactly = {"uid": lease.uid, "resourceVersion": found.metadata.resource_version}
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": exactly}
    try:
        cluster.request("DELETE", _path(lease.namespace, NAME), body=options)
    except (errors.NotFoundError, errors.ConflictError):
        return False
    return True


class LeaseRenewer:
    """Renews a lease every `every_s` seconds from a thread, until stopped or lost.

    `lost` is the reason once it is lost: somebody else holds it, or it could not be renewed until it expired.
    `on_lost` is called with it, once, from the thread. Use as a context manager, or `start()` and `stop()`;
    the lease itself is released by whoever acquired it, with `held`.
    """

    def __init__(
        self,
        cluster: Cluster,
        lease: HeldLease,
        *,
        every_s: float = EVERY_S,
        on_lost: Callable[[errors.ClusterError], None] | None = None,
        clock: Clock = _CLOCK,
    ) -> None:
        self.held = lease
        self.lost: errors.ClusterError | None = None
        self._cluster = cluster
        self._every_s = every_s
        self._on_lost = on_lost
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-renewer", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> HeldLease:
        """End the thread, wait for it, and return the lease as last held.

        Raises RuntimeError if it does not end.
        """
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S_MAX)
        if self._thread.is_alive():
            raise RuntimeError(
                f"the lease renewer did not end within {STOP_S_MAX:g} s: this is a bug, please report"
            )
        return self.held

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self.held = renew(self._cluster, self.held, clock=self._clock)
            except errors.LeaseLostError as problem:
                return self._lose(problem)
            except errors.ClusterError as problem:
                if self._clock.wall_s() >= self.held.expires_s:
                    return self._lose(problem)
        return None

    def _lose(self, problem: errors.ClusterError) -> None:
        self.lost = problem
        if self._on_lost is not None:
            self._on_lost(problem)
