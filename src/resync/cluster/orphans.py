"""Shares of network faults that nobody undoes any more: the fault object is gone, its rules are not.

Chaos Mesh keeps, for every pod, one PodNetworkChaos with a share for each experiment on it, named by `source`
(`<namespace>/<name>`; chaos-mesh `api/v1alpha1/podnetworkchaos_types.go`). An experiment must take its share
out before it goes. Where it did not (a mesh that lost track, issues 4311 and 4530), the pod stays slow or cut
off for ever, and every baseline measured from then on is that of a sick network. Only shares of ours are
looked at: the name of a fault of ours ends with the id of its run.
"""

import re
from typing import Any

import msgspec

from resync.cluster import errors
from resync.cluster.connecting import MERGE_PATCH, Cluster, path_of
from resync.cluster.kinds import KINDS

PARTS = ("ipsets", "iptables", "tcs")
_RUN_ID = re.compile(r"-(\d{8}-\d{6}-[0-9a-f]{6})$")


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """One pod's share of a fault that is gone."""

    namespace: str
    pod: str
    source: str
    run_id: str


def orphans(cluster: Cluster, namespace: str, run_id: str | None = None) -> tuple[Orphan, ...]:
    """Every such share in the namespace, of that run only if given. Raises ClusterError."""
    found = [
        Orphan(namespace=namespace, pod=str(item["metadata"]["name"]), source=source, run_id=ours)
        for item in _networks(cluster, namespace)
        for source in sorted(_sources(item))
        if (ours := _run_of(source)) and run_id in {None, ours}
    ]
    gone = {source for source in {one.source for one in found} if not _exists(cluster, source)}
    return tuple(one for one in found if one.source in gone)


def remove(cluster: Cluster, orphan: Orphan) -> None:
    """Take the share out; the mesh then undoes it in the pod. Raises ClusterError."""
    path = _path(orphan.namespace, orphan.pod)
    item = cluster.get(path, dict[str, Any])
    spec = item.get("spec") or {}
    kept = {
        part: [one for one in spec.get(part) or [] if one.get("source") != orphan.source] for part in PARTS
    }
    body = {"metadata": {"resourceVersion": item["metadata"]["resourceVersion"]}, "spec": kept}
    cluster.request("PATCH", path, body=body, content_type=MERGE_PATCH)


def _networks(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    try:
        items: list[dict[str, Any]] = cluster.get(_path(namespace), dict[str, Any])["items"]
    except errors.NotFoundError:
        return []
    return items


def _sources(item: dict[str, Any]) -> set[str]:
    return {str(one.get("source", "")) for part in PARTS for one in _shares(item, part)}


def _shares(item: dict[str, Any], part: str) -> list[dict[str, Any]]:
    return (item.get("spec") or {}).get(part) or []


def _run_of(source: str) -> str:
    found = _RUN_ID.search(source)
    return found[1] if found else ""


def _exists(cluster: Cluster, source: str) -> bool:
    namespace, _, name = source.partition("/")
    try:
        cluster.request("GET", KINDS["NetworkChaos"].path(namespace, name))
    except errors.NotFoundError:
        return False
    return True


def _path(namespace: str, *name: str) -> str:
    kind = KINDS["NetworkChaos"]
    return path_of("apis", kind.group, kind.version, "namespaces", namespace, "podnetworkchaos", *name)
