"""Is anybody there to execute faults, and above all to end them?

A Deployment that says Available, or a leader's lease, would be two different questions on a cluster and none
at all in the lab. So the mesh is asked the only way it is ever asked anything: a fault object is created and
must be touched. The object is a NetworkChaos whose selector can match nobody (a label nobody has, with the
run's own nonce), so nothing can come of it even where a pause or a dry run would be ignored; a living
controller puts its finalizer on it or writes its status within a fraction of a second (Chaos Mesh
`controllers/common/pipeline`: finalizers first), and deletes it at once, as it has no records. It is labelled
like every fault of ours, so a crash in between leaves nothing unfindable.
"""

import time

import msgspec

from resync.cluster import errors
from resync.cluster.connecting import Cluster
from resync.cluster.faults import AppliedFault, apply, heal
from resync.cluster.kinds import installed
from resync.cluster.manifests import Manifest, parse_manifest
from resync.cluster.statuses import FaultWire

POLL_S = 0.05
ASKING_NAME = "resync-is-anybody-there"
LABEL = "resync.dev/nobody"


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """A mesh that answers: the kinds it serves, and how long it took to touch a new object."""

    kinds: tuple[str, ...]
    answered_s: float


def require_alive(cluster: Cluster, namespace: str, *, run_id: str, timeout_s: float = 5.0) -> Alive:
    """Proof that a controller acts on faults in that namespace.

    Raises MeshMissingError when the kinds are not installed, MeshSilentError when nobody touches the object
    in time, NotHealedError when it is touched and then does not go, ClusterError.
    """
    kinds = tuple(kind.kind for kind in installed(cluster))
    question = apply(cluster, _question(namespace, run_id), run_id=run_id)
    try:
        answered_s = _await_touch(cluster, question, timeout_s)
    finally:
        heal(cluster, question, timeout_s)
    return Alive(kinds=kinds, answered_s=answered_s)


def _question(namespace: str, run_id: str) -> Manifest:
    selector = {"namespaces": [namespace], "labelSelectors": {LABEL: run_id}}
    return parse_manifest(
        {
            "apiVersion": "chaos-mesh.org/v1alpha1",
            "kind": "NetworkChaos",
            "metadata": {"name": f"{ASKING_NAME}-{run_id}"[:63].rstrip("-."), "namespace": namespace},
            "spec": {
                "action": "delay",
                "mode": "all",
                "selector": selector,
                "delay": {"latency": "1ms", "jitter": "0ms", "correlation": "0"},
                "duration": "5s",
            },
        },
        where="the question whether a controller is alive",
    )


def _await_touch(cluster: Cluster, question: AppliedFault, timeout_s: float) -> float:
    began = time.monotonic()
    while True:
        seen = cluster.get(question.path, FaultWire)
        waited_s = time.monotonic() - began
        if seen.metadata.finalizers or seen.status is not None:
            return waited_s
        if waited_s >= timeout_s:
            raise errors.MeshSilentError(
                f"no controller touched a new {question.kind} in namespace {question.namespace} within"
                f" {timeout_s:g} s:"
                " faults would neither begin nor end; is Chaos Mesh running?"
            )
        time.sleep(POLL_S)
