"""Pods as this project sees them: one frozen record, parsed at the edge."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from resync.cluster.connecting import Cluster, path_of


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """One pod at one moment.

    `ip` and `node` are None before they are assigned; `started_s` is epoch seconds.
    """

    namespace: str
    name: str
    uid: str
    ip: str | None = None
    phase: str = "Pending"
    ready: bool = False
    restart_count: int = 0
    node: str | None = None
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    started_s: float | None = None
    deleting: bool = False

    @property
    def pod_key(self) -> str:
        """`<namespace>/<name>`: how metrics and evidence name a pod."""
        return f"{self.namespace}/{self.name}"


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    pass


class ObjectMeta(_Wire, frozen=True):
    """The metadata of any Kubernetes object, as far as it is read here."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class _Condition(_Wire, frozen=True):
    type: str
    status: str


class _ContainerStatus(_Wire, frozen=True):
    restart_count: int = 0


class _PodSpec(_Wire, frozen=True):
    node_name: str | None = None


class _PodStatus(_Wire, frozen=True):
    phase: str = "Pending"
    pod_i_p: str | None = msgspec.field(name="podIP", default=None)
    conditions: list[_Condition] | None = None
    container_statuses: list[_ContainerStatus] | None = None
    start_time: datetime | None = None


class PodWire(_Wire, frozen=True):
    """A pod as the API sends it; `record` turns it into ours."""

    metadata: ObjectMeta
    spec: _PodSpec = _PodSpec()
    status: _PodStatus = _PodStatus()

    def record(self) -> Pod:
        """The pod as this project sees it."""
        meta, status = self.metadata, self.status
        return Pod(
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
            ip=status.pod_i_p or None,
            phase=status.phase,
            ready=any(c.type == "Ready" and c.status == "True" for c in status.conditions or ()),
            restart_count=sum(c.restart_count for c in status.container_statuses or ()),
            node=self.spec.node_name or None,
            labels=meta.labels or {},
            annotations=meta.annotations or {},
            started_s=status.start_time.timestamp() if status.start_time else None,
            deleting=meta.deletion_timestamp is not None,
        )


class ListMeta(_Wire, frozen=True):
    """Where a list stands: the version to watch from, and the token of the next page."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class PodListWire(_Wire, frozen=True):
    """A list of pods as the API sends it."""

    metadata: ListMeta
    items: list[PodWire]


def pods_path(namespace: str) -> str:
    """The API path of a namespace's pods."""
    return path_of("api", "v1", "namespaces", namespace, "pods")


def list_pods(cluster: Cluster, namespace: str, label_selector: str = "") -> tuple[Pod, ...]:
    """The namespace's pods that match, by name; empty when there is none (the API cannot tell why).

    Raises ClusterError.
    """
    query = {"labelSelector": label_selector} if label_selector else None
    found = cluster.get(pods_path(namespace), PodListWire, query)
    return tuple(sorted((item.record() for item in found.items), key=lambda pod: pod.name))
