"""Whether a namespace agreed to be experimented on."""

import msgspec

from resync.cluster.connecting import Cluster, path_of
from resync.cluster.pods import ObjectMeta

ANNOTATION = "chaos-mesh.org/inject"
ENABLED = "enabled"


class _Namespace(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


def opted_in(cluster: Cluster, namespace: str) -> bool:
    """Whether the namespace carries `chaos-mesh.org/inject: enabled`, the opt-in of Chaos Mesh's own filter.

    Raises NotFoundError when there is no such namespace, ClusterError.
    """
    found = cluster.get(path_of("api", "v1", "namespaces", namespace), _Namespace)
    return (found.metadata.annotations or {}).get(ANNOTATION) == ENABLED
