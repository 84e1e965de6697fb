"""When a deleted object really goes.

At once, unless somebody still has something to do: a pod bound to a node is stopped by that node first (grace
period), and an object with finalizers waits for their owners (Kubernetes documentation, "Finalizers",
"Termination of Pods"; kubernetes/apiserver, pkg/registry/rest/delete.go).
"""

from dataclasses import dataclass

from resync.lab.api.objects import JsonObject, finalizers, is_terminating, metadata, section, timestamp

POD_GRACE_S = 30
_FINISHED = frozenset({"Succeeded", "Failed"})
_HELD_BY = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
"""The finalizer by which the garbage collector sees how an object is to be deleted."""


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How a deletion was asked for; None or empty means not said."""

    grace_s: int | None = None
    uid: str = ""
    version: str = ""
    propagation: str = ""
    dry_run: bool = False


def grace_of(obj: JsonObject, asked_s: int | None, *, is_pod: bool) -> int:
    """Seconds that somebody has to stop it; 0 for everything but a live pod on a node."""
    spec = section(obj, "spec")
    if not is_pod or not spec.get("nodeName") or section(obj, "status").get("phase") in _FINISHED:
        return 0
    if asked_s is not None:
        return max(asked_s, 0)
    return int(spec.get("terminationGracePeriodSeconds", POD_GRACE_S))


def mark(obj: JsonObject, grace_s: int, now_s: float, propagation: str = "") -> bool:
    """Write down that the object is going; returns whether anything changed.

    A shorter grace overrides a longer. What becomes of dependents is said at the first deletion only.
    """
    found = metadata(obj)
    first = not is_terminating(obj)
    if first and propagation in _HELD_BY:
        found["finalizers"] = sorted({*finalizers(obj), _HELD_BY[propagation]})
    if not first and grace_s >= int(found.get("deletionGracePeriodSeconds") or 0):
        return False
    found["deletionTimestamp"] = timestamp(now_s + grace_s)
    found["deletionGracePeriodSeconds"] = grace_s
    if first and found.get("generation"):
        found["generation"] += 1
    return True


def is_over(obj: JsonObject) -> bool:
    """Whether nothing holds a terminating object any more."""
    found = metadata(obj)
    held = (
        finalizers(obj) or section(obj, "spec").get("finalizers")
        if obj.get("kind") == "Namespace"
        else finalizers(obj)
    )
    return is_terminating(obj) and not held and not found.get("deletionGracePeriodSeconds")
