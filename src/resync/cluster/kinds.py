"""The kinds of fault that can be applied, awaited, healed and swept: one row each.

A new kind is a new row. Group and version: Chaos Mesh `config/crd/bases`; the plural of every kind equals its
singular there.
"""

import msgspec

from resync.cluster import errors
from resync.cluster.connecting import Cluster, path_of


class FaultKind(msgspec.Struct, frozen=True):
    """Where objects of a kind live, and how they behave."""

    kind: str
    plural: str
    group: str = "chaos-mesh.org"
    version: str = "v1alpha1"
    one_shot_actions: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """`group/version`."""
        return f"{self.group}/{self.version}"

    def path(self, namespace: str, *name: str) -> str:
        """The API path of the kind's objects in a namespace, or of one of them."""
        return path_of("apis", self.group, self.version, "namespaces", namespace, self.plural, *name)


KINDS = {
    row.kind: row
    for row in (
        FaultKind("NetworkChaos", "networkchaos"),
        FaultKind("PodChaos", "podchaos", one_shot_actions=("pod-kill", "container-kill")),
        FaultKind("StressChaos", "stresschaos"),
        FaultKind("TimeChaos", "timechaos"),
        FaultKind("IOChaos", "iochaos"),
        FaultKind("HTTPChaos", "httpchaos"),
        FaultKind("DNSChaos", "dnschaos"),
    )
}


class _Resource(msgspec.Struct, frozen=True):
    name: str


class _ResourceList(msgspec.Struct, frozen=True):
    resources: list[_Resource] = []


def _served(cluster: Cluster, api_version: str) -> frozenset[str]:
    try:
        found = cluster.get(f"/apis/{api_version}", _ResourceList)
    except errors.NotFoundError:
        return frozenset()
    return frozenset(resource.name for resource in found.resources)


def installed(cluster: Cluster) -> tuple[FaultKind, ...]:
    """The kinds of the table that this cluster serves, in the table's order.

    Raises MeshMissingError when it serves none (nothing was installed, or this is not the cluster that was
    meant), and ClusterError.
    """
    served = {version: _served(cluster, version) for version in {kind.api_version for kind in KINDS.values()}}
    found = tuple(kind for kind in KINDS.values() if kind.plural in served[kind.api_version])
    if not found:
        raise errors.MeshMissingError(
            f"{cluster.host} serves no kind of fault (chaos-mesh.org/v1alpha1): install Chaos Mesh, or check"
            " that this"
            " is the cluster you mean"
        )
    return found
