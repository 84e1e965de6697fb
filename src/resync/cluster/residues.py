"""What earlier runs left behind, and its removal.

Everything of ours carries our label, so a crash leaves nothing that could not be found. A residual fault is
*live* until its own expiry (creation plus duration, as the mesh counts) and *expired* after it: the object
then stays, which is normal, but with nothing left in force unless the mesh says that it did not recover.
A kill that has happened is over at once, whatever its duration says.
"""

import msgspec

from resync.cluster import errors
from resync.cluster.connecting import Cluster
from resync.cluster.faults import MANAGED_BY, MANAGED_LABEL, RUN_LABEL, AppliedFault, heal
from resync.cluster.kinds import FaultKind, installed
from resync.cluster.statuses import FaultListWire, FaultWire
from resync.kits.clocks import Clock, SystemClock

HEAL_S_MAX = 10.0


class ResidualFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of ours that is there.

    `expires_s` is None when it has no readable expiry: it never ends by itself.
    """

    applied: AppliedFault
    expires_s: float | None
    deleting: bool
    recovered: bool
    over: bool = False
    """Whether it was a kill that has happened: nothing is in force, and its duration ends nothing."""

    @property
    def run_id(self) -> str:
        """The run that made it."""
        return self.applied.run_id

    def live(self, now_s: float) -> bool:
        """Whether its expiry is still to come (or never comes)."""
        return not self.over and (self.expires_s is None or now_s < self.expires_s)

    def __str__(self) -> str:
        """How messages name it."""
        return f"{self.applied} of run {self.run_id or 'unknown'}"


class Unswept(msgspec.Struct, frozen=True):
    """A fault that could not be removed, and why."""

    fault: ResidualFault
    reason: str


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep found and did; `left_alone` are live ones, when only expired ones were to go."""

    found: tuple[ResidualFault, ...]
    healed: tuple[ResidualFault, ...]
    left_alone: tuple[ResidualFault, ...]
    failed: tuple[Unswept, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing of ours is left."""
        return len(self.healed) == len(self.found)


def residue(cluster: Cluster, namespace: str, run_id: str | None = None) -> tuple[ResidualFault, ...]:
    """Every fault of ours in the namespace (of that run only, if given), of every kind the cluster serves.

    Raises MeshMissingError when it serves none, ClusterError.
    """
    selector = f"{MANAGED_LABEL}={MANAGED_BY}" + (f",{RUN_LABEL}={run_id}" if run_id else "")
    found: list[ResidualFault] = []
    for kind in installed(cluster):
        items = cluster.get(kind.path(namespace), FaultListWire, {"labelSelector": selector}).items
        found.extend(_residual(item, kind) for item in items)
    return tuple(found)


def _residual(item: FaultWire, kind: FaultKind) -> ResidualFault:
    duration_s = item.duration_s
    applied = AppliedFault(
        kind=kind.kind,
        namespace=item.metadata.namespace,
        name=item.metadata.name,
        uid=item.metadata.uid,
        run_id=(item.metadata.labels or {}).get(RUN_LABEL, ""),
        created_s=item.created_s,
        duration_s=duration_s or 0.0,
    )
    return ResidualFault(
        applied=applied,
        expires_s=None if duration_s is None else applied.expires_s,
        deleting=item.metadata.deletion_timestamp is not None,
        recovered=item.holds("AllRecovered"),
        over=item.spec.action in kind.one_shot_actions and item.injected,
    )


def sweep(
    cluster: Cluster,
    namespace: str,
    run_id: str | None = None,
    *,
    only_expired: bool = False,
    clock: Clock | None = None,
) -> SweepReport:
    """Remove the residue, and report each piece; one that cannot be removed does not stop the others.

    Raises MeshMissingError, and ClusterError when the residue cannot be listed.
    """
    now_s = (clock or SystemClock()).wall_s()
    found = residue(cluster, namespace, run_id)
    left_alone = tuple(one for one in found if only_expired and one.live(now_s))
    healed: list[ResidualFault] = []
    failed: list[Unswept] = []
    for one in found:
        if one in left_alone:
            continue
        try:
            heal(cluster, one.applied, HEAL_S_MAX)
        except errors.ClusterError as problem:
            failed.append(Unswept(one, str(problem)))
        else:
            healed.append(one)
    return SweepReport(found=found, healed=tuple(healed), left_alone=left_alone, failed=tuple(failed))
