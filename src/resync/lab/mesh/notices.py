"""What the mesh tells the world about an experiment: Kubernetes Events with Chaos Mesh's reasons and words.

A table of chaos-mesh `controllers/utils/recorder/*.go`, as recorded from the real controller. Each notice
names the component that speaks, because the real one has an event recorder per step of the pipeline.
"""

from typing import Final

import msgspec

from resync.lab.kube import Object
from resync.lab.metadata import Metadata, stamp

_PREFIX: Final = "chaos-mesh.org"


class Notice(msgspec.Struct, frozen=True):
    """One ClusterEvent before it has a name and a time."""

    component: str
    reason: str
    message: str
    facts: tuple[tuple[str, str], ...]
    type: str = "Normal"


def updated(component: str, field: str) -> Notice:
    """A field of the object has been written."""
    facts = (("field", field), ("type", "updated"))
    return Notice(component, "Updated", f"Successfully update {field} of resource", facts)


def finalizer_inited() -> Notice:
    """The experiment is under the mesh's care."""
    return Notice(
        "initFinalizers", "FinalizerInited", "Finalizer has been inited", (("type", "finalizer-inited"),)
    )


def finalizer_removed() -> Notice:
    """The experiment may go; the odd reason is the real controller's."""
    return Notice(
        "initFinalizers", "FinalizerInited", "Finalizer has been removed", (("type", "finalizer-removed"),)
    )


STARTED: Final = Notice("desiredphase", "Started", "Experiment has started", (("type", "started"),))
TIME_UP: Final = Notice("desiredphase", "TimeUp", "Time up according to the duration", (("type", "time-up"),))
PAUSED: Final = Notice("desiredphase", "Paused", "Experiment has been paused", (("type", "paused"),))
DELETED: Final = Notice("desiredphase", "Deleted", "Experiment has been deleted", (("type", "deleted"),))


def applied(target: str) -> Notice:
    """One target has the fault."""
    message = f"Successfully apply chaos for {target}"
    return Notice("records", "Applied", message, (("id", target), ("type", "applied")))


def recovered(target: str) -> Notice:
    """One target is healed."""
    message = f"Successfully recover chaos for {target}"
    return Notice("records", "Recovered", message, (("id", target), ("type", "recovered")))


def failed(activity: str, why: str) -> Notice:
    """Something did not work; the mesh says what it was doing."""
    facts = (("activity", activity), ("err", why), ("type", "failed"))
    return Notice("records", "Failed", f"Failed to {activity}: {why}", facts, "Warning")


def cluster_event(notice: Notice, about: Metadata, kind: str, api_version: str, at_ns: int) -> Object:
    """The Event object. Its name ends in the time in nanoseconds, in hex: finer than any field of it."""
    now = stamp(at_ns / 1e9)
    return {
        "metadata": {
            "name": f"{about.name}.{at_ns:x}",
            "namespace": about.namespace,
            "annotations": {f"{_PREFIX}/{name}": value for name, value in notice.facts},
        },
        "involvedObject": {
            "apiVersion": api_version,
            "kind": kind,
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        },
        "type": notice.type,
        "reason": notice.reason,
        "message": notice.message,
        "source": {"component": notice.component},
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
    }
