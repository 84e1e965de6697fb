"""The fields of Kubernetes objects these controllers act on, as typed records.

Templates stay JSON: a controller compares and copies them, what is in them is the node's business.
"""

from datetime import UTC, datetime

import msgspec

from resync.lab.kube import Object, Resource
from resync.lab.labels import selector_text


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an object as the API writes it."""


class OwnerReference(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """Who an object belongs to."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class Metadata(_Part, frozen=True, kw_only=True):
    """What every object has."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime = datetime.fromtimestamp(0, UTC)
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []
    owner_references: list[OwnerReference] = []

    @property
    def terminating(self) -> bool:
        """Deletion was asked for."""
        return self.deletion_timestamp is not None

    @property
    def controller(self) -> OwnerReference | None:
        """The one owner that manages it."""
        return next((owner for owner in self.owner_references if owner.controller), None)

    def reference(self, resource: Resource) -> OwnerReference:
        """How an object that this one manages names it."""
        return OwnerReference(
            api_version=resource.api_version,
            kind=resource.kind,
            name=self.name,
            uid=self.uid,
            controller=True,
            block_owner_deletion=True,
        )


def metadata_of(item: Object) -> Metadata:
    """Whose an object of any kind is and whether it goes; a field that is null counts as absent."""
    return msgspec.convert(
        {word: value for word, value in item["metadata"].items() if value is not None}, Metadata
    )


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


class ReplicaSetSpec(_Part, frozen=True, kw_only=True):
    """So many pods of this template."""

    replicas: int = 1
    min_ready_seconds: int = 0
    selector: dict[str, object]
    template: Object


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
    spec: ReplicaSetSpec
    status: ReplicaSetStatus = ReplicaSetStatus()

    @property
    def selector(self) -> str:
        """As a list request takes it."""
        return selector_text(self.spec.selector)


class UpdateStrategy(_Part, frozen=True, kw_only=True):
    """How pods of an old template go: RollingUpdate, or OnDelete: when somebody else deletes them."""

    type: str = "RollingUpdate"


class StatefulSetSpec(_Part, frozen=True, kw_only=True):
    """So many pods of this template, numbered from 0."""

    replicas: int = 1
    min_ready_seconds: int = 0
    pod_management_policy: str = "OrderedReady"
    update_strategy: UpdateStrategy = UpdateStrategy()
    selector: dict[str, object]
    template: Object


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
    def selector(self) -> str:
        """As a list request takes it."""
        return selector_text(self.spec.selector)

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


class DeploymentSpec(_Part, frozen=True, kw_only=True):
    """So many pods of this template, and how to come from the last template to this one."""

    replicas: int = 1
    min_ready_seconds: int = 0
    paused: bool = False
    revision_history_limit: int = 10
    progress_deadline_seconds: int = 600
    selector: dict[str, object]
    strategy: Strategy = Strategy()
    template: Object


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

    @property
    def selector(self) -> str:
        """As a list request takes it."""
        return selector_text(self.spec.selector)
