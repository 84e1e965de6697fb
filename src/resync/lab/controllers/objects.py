"""The fields of Kubernetes objects these controllers act on, as typed records.

Templates stay JSON: a controller compares and copies them, what is in them is the node's business.
"""

from datetime import UTC, datetime

import msgspec

from resync.lab.kube import Object
from resync.lab.labels import selector_text
from resync.lab.metadata import Metadata


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an object as the API writes it."""


class Condition(_Part, frozen=True, kw_only=True):
    """One condition of a status; an absent time is long ago."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_update_time: datetime = datetime.fromtimestamp(0, UTC)
    last_transition_time: datetime = datetime.fromtimestamp(0, UTC)


class ContainerStatus(_Part, frozen=True, kw_only=True):
    """How often a container began anew."""

    restart_count: int = 0


class PodStatus(_Part, frozen=True, kw_only=True):
    """What the node says of a pod."""

    phase: str = "Pending"
    conditions: list[Condition] = []
    container_statuses: list[ContainerStatus] = []


class PodSpec(_Part, frozen=True, kw_only=True):
    """Where a pod runs."""

    node_name: str = ""


class Pod(_Part, frozen=True, kw_only=True):
    """A pod as its set counts it."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def active(self) -> bool:
        """It runs or may come to run."""
        return not self.metadata.terminating and self.status.phase not in {"Succeeded", "Failed"}

    @property
    def ready_since(self) -> datetime | None:
        """Since when it is Ready; None while it is not."""
        met = (one for one in self.status.conditions if one.type == "Ready" and one.status == "True")
        return next((one.last_transition_time for one in met), None)

    @property
    def restarts(self) -> int:
        """Of all its containers."""
        return sum(container.restart_count for container in self.status.container_statuses)


class WorkloadSpec(_Part, frozen=True, kw_only=True):
    """So many pods of this template: all of a ReplicaSet's spec, and a part of the others'."""

    replicas: int = 1
    min_ready_seconds: int = 0
    selector: dict[str, object]
    template: Object

    @property
    def selector_text(self) -> str:
        """The selector as a list request takes it."""
        return selector_text(self.selector)


class ReplicaSetStatus(_Part, frozen=True, kw_only=True):
    """How many there are; terminating ones do not count."""

    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    observed_generation: int = 0


class ReplicaSet(_Part, frozen=True, kw_only=True):
    """apps/v1 ReplicaSet."""

    metadata: Metadata
    spec: WorkloadSpec
    status: ReplicaSetStatus = ReplicaSetStatus()


class UpdateStrategy(_Part, frozen=True, kw_only=True):
    """How pods of an old template go: RollingUpdate, or OnDelete: when somebody else deletes them."""

    type: str = "RollingUpdate"


class StatefulSetSpec(WorkloadSpec, frozen=True, kw_only=True):
    """Pods numbered from 0."""

    pod_management_policy: str = "OrderedReady"
    update_strategy: UpdateStrategy = UpdateStrategy()


class StatefulSetStatus(_Part, frozen=True, kw_only=True):
    """How many there are, and of which template; terminating ones do not count."""

    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    observed_generation: int = 0


class StatefulSet(_Part, frozen=True, kw_only=True):
    """apps/v1 StatefulSet."""

    metadata: Metadata
    spec: StatefulSetSpec
    status: StatefulSetStatus = StatefulSetStatus()

    @property
    def ordered(self) -> bool:
        """Whether each pod waits for the one before it."""
        return self.spec.pod_management_policy == "OrderedReady"


class RollingUpdate(_Part, frozen=True, kw_only=True):
    """How far a rolling update may stray from the wanted number: pods, or "25%" of them."""

    max_surge: int | str = "25%"
    max_unavailable: int | str = "25%"


class Strategy(_Part, frozen=True, kw_only=True):
    """RollingUpdate, or Recreate: all old ones first."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate = RollingUpdate()


class DeploymentSpec(WorkloadSpec, frozen=True, kw_only=True):
    """How to come from the last template to this one."""

    paused: bool = False
    revision_history_limit: int = 10
    progress_deadline_seconds: int = 600
    strategy: Strategy = Strategy()


class DeploymentStatus(_Part, frozen=True, kw_only=True):
    """How far it is."""

    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    observed_generation: int = 0
    conditions: list[Condition] = []


class Deployment(_Part, frozen=True, kw_only=True):
    """apps/v1 Deployment."""

    metadata: Metadata
    spec: DeploymentSpec
    status: DeploymentStatus = DeploymentStatus()
