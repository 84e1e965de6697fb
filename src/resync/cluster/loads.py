"""More load for a while, asked of a load's pod through the API server's proxy.

A surge is a fault like any other: it belongs to a run, it carries its own end (the load counts it, not we),
it can be looked at, taken back and found by whoever comes later. What answers is `resync.load` (its page in
docs/interfaces.md); the way there, `pods/<name>:<port>/proxy`, is the same on every cluster.
"""

import msgspec

from resync.cluster import errors
from resync.cluster.connecting import Cluster, path_of
from resync.cluster.pods import Pod

PORT = 9101


class Surge(msgspec.Struct, frozen=True, kw_only=True):
    """Requests a second beside the usual ones, the share of them with a known prefix, and for how long."""

    run: str
    rate: float
    prefix_share: float
    for_s: float


class Standing(msgspec.Struct, frozen=True):
    """A surge under way; times are the load's own clock, seconds since the epoch."""

    asked: Surge
    began_s: float
    ends_s: float


def begin(cluster: Cluster, pod: Pod, surge: Surge) -> Standing:
    """The surge, begun. Raises FaultExistsError when that load is in one already, ClusterError."""
    try:
        return cluster.send("PUT", _path(pod), msgspec.to_builtins(surge), Standing)
    except (errors.AlreadyExistsError, errors.ConflictError) as problem:
        raise errors.FaultExistsError(
            f"the load {pod.pod_key} is in a surge already, so none was begun: wait for its end"
        ) from problem


def standing(cluster: Cluster, pod: Pod) -> Standing | None:
    """The surge that load is in, None when it is in none. Raises ClusterError."""
    try:
        return cluster.get(_path(pod), Standing)
    except errors.NotFoundError:
        return None


def end(cluster: Cluster, pod: Pod) -> None:
    """End whatever surge that load is in; none is fine too. Raises ClusterError."""
    cluster.request("DELETE", _path(pod))


def _path(pod: Pod) -> str:
    return path_of("api", "v1", "namespaces", pod.namespace, "pods", f"{pod.name}:{PORT}", "proxy", "surge")
