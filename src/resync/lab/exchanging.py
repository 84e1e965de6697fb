"""A pod of a running lab, exchanged for one with other arguments.

A pod that nobody owns is deleted and made anew. One of a StatefulSet comes back by itself, so the set's
template is changed first; meanwhile the set replaces nothing of its own accord (`OnDelete`), or every other
pod of it would be exchanged too.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from resync.cluster.connecting import MERGE_PATCH, Cluster, path_of
from resync.cluster.errors import ConflictError, NotFoundError
from resync.cluster.pods import PodWire, pods_path
from resync.kits.waits import wait_until

EXCHANGED_TIMEOUT_S = 30.0

Object = dict[str, Any]


class Original(msgspec.Struct, frozen=True):
    """What a pod is made of: the pod itself, or what its set (`owner`) says of how pods are made."""

    owner: str
    """Empty for a pod that nobody owns."""

    body: Object

    def with_args(self, extra_args: Sequence[str]) -> "Original":
        """The same with `extra_args` appended to the arguments of the container."""
        changed = msgspec.json.decode(msgspec.json.encode(self.body), type=Object)
        template = changed["template"] if self.owner else changed
        container = template["spec"]["containers"][0]
        container["args"] = [*container.get("args", []), *extra_args]
        return Original(
            self.owner, {**changed, "updateStrategy": {"type": "OnDelete"}} if self.owner else changed
        )


def original(cluster: Cluster, namespace: str, name: str) -> Original:
    """The pod as it is made now. Raises ClusterError."""
    pod = cluster.get(f"{pods_path(namespace)}/{name}", Object)
    owners = [
        one["name"] for one in pod["metadata"].get("ownerReferences", ()) if one["kind"] == "StatefulSet"
    ]
    if owners:
        spec = cluster.get(_set_path(namespace, owners[0]), Object)["spec"]
        return Original(owners[0], {key: spec[key] for key in ("template", "updateStrategy")})
    return Original("", _bare(pod))


def exchange(cluster: Cluster, namespace: str, name: str, wanted: Original) -> None:
    """Delete the pod; returns once another of its name is there. Raises ClusterError, WaitTimeoutError."""
    path = f"{pods_path(namespace)}/{name}"
    before = _uid(cluster, path)
    if wanted.owner:
        body = {"spec": wanted.body}
        cluster.request("PATCH", _set_path(namespace, wanted.owner), body=body, content_type=MERGE_PATCH)
    with suppress(
        NotFoundError, ConflictError
    ):  # deleted by somebody else: what counts is what comes after it
        cluster.request("DELETE", path, body={"preconditions": {"uid": before}})
    if not wanted.owner:
        wait_until(
            lambda: not _uid(cluster, path), what=f"pod {name} to be gone", timeout_s=EXCHANGED_TIMEOUT_S
        )
        cluster.send("POST", pods_path(namespace), wanted.body, PodWire)
    wait_until(
        lambda: _uid(cluster, path) not in {"", before},
        what=f"another pod {name}",
        timeout_s=EXCHANGED_TIMEOUT_S,
    )


def _set_path(namespace: str, name: str) -> str:
    return path_of("apis", "apps", "v1", "namespaces", namespace, "statefulsets", name)


def _uid(cluster: Cluster, path: str) -> str:
    """Of the pod that has the name now; empty while there is none."""
    try:
        found = cluster.get(path, Object)
    except NotFoundError:
        return ""
    return str(found["metadata"]["uid"])


def _bare(found: Object) -> Object:
    """The pod as it would be created anew: without what the API and the node have put into it."""
    kept = ("name", "namespace", "labels", "annotations")
    spec = {key: value for key, value in found["spec"].items() if key != "nodeName"}
    metadata = {key: found["metadata"][key] for key in kept if key in found["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
