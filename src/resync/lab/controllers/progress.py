"""What a deployment says about how far it is: counts and conditions. Pure.

kubernetes/kubernetes, pkg/controller/deployment/{sync,progress}.go. `kubectl rollout status` and
`kubectl wait --for=condition=Available` read nothing else.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from resync.lab.controllers.objects import Condition, Deployment, DeploymentStatus
from resync.lab.controllers.revisions import Revisions
from resync.lab.controllers.rollouts import Leeway

DEADLINE = "ProgressDeadlineExceeded"
COMPLETE = "NewReplicaSetAvailable"
_COUNTS = ("replicas", "updated_replicas", "ready_replicas", "available_replicas")


def status_of(deployment: Deployment, sets: Revisions, allowed: Leeway, now: datetime) -> DeploymentStatus:
    """The status to write, at a time in whole seconds."""
    available = sum(one.status.available_replicas for one in sets.every)
    replicas = sum(one.status.replicas for one in sets.every)
    counts = DeploymentStatus(
        replicas=replicas,
        updated_replicas=sets.new.status.replicas if sets.new else 0,
        ready_replicas=sum(one.status.ready_replicas for one in sets.every),
        available_replicas=available,
        unavailable_replicas=max(sum(one.spec.replicas for one in sets.every) - available, 0),
        observed_generation=deployment.metadata.generation,
    )
    return msgspec.structs.replace(counts, conditions=list(_conditions(deployment, counts, allowed, now)))


def deadline_left(deployment: Deployment, now: datetime) -> timedelta | None:
    """How long the rollout may go on without progress; None for one that has ended or not begun."""
    for one in deployment.status.conditions:
        if one.type == "Progressing" and one.reason not in {DEADLINE, COMPLETE}:
            return one.last_update_time + timedelta(seconds=deployment.spec.progress_deadline_seconds) - now
    return None


def _conditions(
    deployment: Deployment, counts: DeploymentStatus, allowed: Leeway, now: datetime
) -> Iterator[Condition]:
    before = {one.type: one for one in deployment.status.conditions}
    enough = counts.available_replicas >= deployment.spec.replicas - allowed.unavailable
    yield _condition(
        before.get("Available"),
        Condition(
            type="Available",
            status=str(enough),
            reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            message=f"Deployment {'has' if enough else 'does not have'} minimum availability.",
            last_update_time=now,
            last_transition_time=now,
        ),
    )
    yield _progressing(deployment, counts, before.get("Progressing"), now)


def _condition(before: Condition | None, now: Condition) -> Condition:
    """The condition as it was when nothing has changed; its transition time while the status is the same."""
    if before is None or before.status != now.status:
        return now
    if before.reason == now.reason:
        return before
    return msgspec.structs.replace(now, last_transition_time=before.last_transition_time)


def _progressing(
    deployment: Deployment, counts: DeploymentStatus, before: Condition | None, now: datetime
) -> Condition:
    fresh = Condition(type="Progressing", status="True", last_update_time=now, last_transition_time=now)
    name = deployment.metadata.name
    if is_complete(deployment, counts):
        text = f'Deployment "{name}" has successfully progressed.'
        return _condition(before, msgspec.structs.replace(fresh, reason=COMPLETE, message=text))
    moved = any(getattr(counts, word) != getattr(deployment.status, word) for word in _COUNTS)
    left = deadline_left(deployment, now)
    if not moved and before is not None and (before.reason == DEADLINE or (left and left <= timedelta())):
        text = f'Deployment "{name}" has timed out progressing.'
        late = msgspec.structs.replace(fresh, status="False", reason=DEADLINE, message=text)
        return _condition(before, late)
    going = msgspec.structs.replace(
        fresh, reason="ReplicaSetUpdated", message=f'Deployment "{name}" is progressing.'
    )
    return going if moved else _condition(before, going)


def is_complete(deployment: Deployment, counts: DeploymentStatus) -> bool:
    """Every pod is of the present template, and available."""
    wanted = deployment.spec.replicas
    return counts.updated_replicas == counts.replicas == counts.available_replicas == wanted
