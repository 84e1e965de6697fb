"""Rules of a fault that is gone are found by the run they belong to, and taken out; nobody else's are."""

from typing import Any

import pytest

from resync.cluster.connecting import Cluster
from resync.cluster.manifests import Manifest, override
from resync.cluster.orphans import orphans, remove

pytestmark = pytest.mark.integration

RUN, OTHER = "20261126-194434-d78d3f", "20261126-194536-d21196"


def network(cluster: Cluster, namespace: str, pod: str, *sources: str) -> None:
    """A pod's network object with a share for each source."""
    kinds = [{"source": source, "type": "netem", "delay": {"latency": "50ms"}} for source in sources]
    sets = [{"source": source, "name": f"s{i}", "ipsetType": "hash:net"} for i, source in enumerate(sources)]
    body = {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": "PodNetworkChaos",
        "metadata": {"name": pod, "namespace": namespace},
        "spec": {"tcs": kinds, "ipsets": sets},
    }
    cluster.request("POST", path(namespace), body=body)


def path(namespace: str, *name: str) -> str:
    return "/".join(
        ["", "apis", "chaos-mesh.org", "v1alpha1", "namespaces", namespace, "podnetworkchaos", *name]
    )


def test_only_shares_of_ours_whose_fault_is_gone_are_orphans(
    cluster: Cluster, manifest: Manifest, namespace: str
) -> None:
    standing = override(manifest, name=f"network-delay-{OTHER}", namespace=namespace)
    cluster.request("POST", standing.row.path(namespace), body=standing.body())
    gone, theirs = f"{namespace}/network-delay-{RUN}", f"{namespace}/somebody-elses"
    network(cluster, namespace, "engine-0", gone, theirs)
    network(cluster, namespace, "engine-1", f"{namespace}/network-delay-{OTHER}")
    (found,) = orphans(cluster, namespace)
    assert (found.pod, found.source, found.run_id) == ("engine-0", gone, RUN)
    assert orphans(cluster, namespace, OTHER) == ()


def test_taking_one_out_leaves_the_others_in(cluster: Cluster, namespace: str) -> None:
    gone, theirs = f"{namespace}/network-delay-{RUN}", f"{namespace}/somebody-elses"
    network(cluster, namespace, "engine-0", gone, theirs)
    (found,) = orphans(cluster, namespace, RUN)
    remove(cluster, found)
    assert orphans(cluster, namespace) == ()
    spec = cluster.get(path(namespace, "engine-0"), dict[str, Any])["spec"]
    assert [one["source"] for one in spec["tcs"]] == [theirs]
    assert [one["source"] for one in spec["ipsets"]] == [theirs]


def test_a_namespace_without_network_objects_has_none(cluster: Cluster, namespace: str) -> None:
    assert orphans(cluster, namespace) == ()
