"""The status of a Chaos Mesh object, as records.

What may be concluded from it is less than it seems (`controllers/common/condition`, `records` in Chaos Mesh):
`AllInjected` says the mesh's calls returned, and `AllRecovered` is also True when nothing was ever injected.
So *injected* here means `AllInjected` and every record injected at least once; that an effect followed is for
the data path to prove.
"""

import msgspec

from resync.cluster.durations import parse_s
from resync.cluster.pods import ObjectMeta

FAILED = "Failed"


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    pass


class RecordEvent(_Wire, frozen=True):
    """One attempt of the mesh on one target: `type` Succeeded or Failed, `operation` Apply or Recover."""

    type: str = ""
    operation: str = ""
    message: str = ""
    timestamp: str = ""


class Record(_Wire, frozen=True):
    """What the mesh did to one target.

    `id` is `<namespace>/<pod>`, with a container for kinds that pick one.
    """

    id: str
    selector_key: str = "."
    phase: str = "Not Injected"
    injected_count: int = 0
    recovered_count: int = 0
    events: tuple[RecordEvent, ...] = ()

    @property
    def pod_key(self) -> str:
        """The pod this record is about."""
        return "/".join(self.id.split("/")[:2])

    @property
    def is_target(self) -> bool:
        """Whether the pod stands on the target side of the fault."""
        return self.selector_key == ".Target"


class _Condition(_Wire, frozen=True):
    type: str
    status: str


class _Experiment(_Wire, frozen=True):
    desired_phase: str = ""
    container_records: tuple[Record, ...] | None = None


class _Status(_Wire, frozen=True):
    conditions: tuple[_Condition, ...] | None = None
    experiment: _Experiment = _Experiment()


class _Spec(_Wire, frozen=True):
    action: str | None = None
    duration: str | None = None


class FaultWire(_Wire, frozen=True):
    """A Chaos Mesh object as the API sends it."""

    metadata: ObjectMeta
    kind: str = ""
    spec: _Spec = _Spec()
    status: _Status | None = None

    @property
    def records(self) -> tuple[Record, ...]:
        """What was done to each target; empty before targets were chosen."""
        return (self.status.experiment.container_records or ()) if self.status else ()

    @property
    def desired_phase(self) -> str:
        """`Run`, `Stop`, or empty before the mesh has seen the object."""
        return self.status.experiment.desired_phase if self.status else ""

    def holds(self, condition: str) -> bool:
        """Whether that condition is True."""
        found = self.status.conditions or () if self.status else ()
        return any(one.type == condition and one.status == "True" for one in found)

    @property
    def injected(self) -> bool:
        """Whether the mesh says so, of every target, each at least once."""
        return (
            self.holds("AllInjected") and bool(self.records) and all(r.injected_count for r in self.records)
        )

    @property
    def created_s(self) -> float:
        """Epoch seconds of creationTimestamp, whole seconds: where the mesh counts the duration from."""
        created = self.metadata.creation_timestamp
        return created.timestamp() if created else 0.0

    @property
    def duration_s(self) -> float | None:
        """The expiry that the mesh will honour; None when it has none or cannot read it."""
        try:
            return parse_s(self.spec.duration) if self.spec.duration else None
        except ValueError:
            return None


class FaultListWire(_Wire, frozen=True):
    """A list of Chaos Mesh objects as the API sends it."""

    items: tuple[FaultWire, ...] = ()


def failures(records: tuple[Record, ...]) -> tuple[str, ...]:
    """The last failed attempt on each target, as `<target>: <operation> failed: <message>`."""
    said = []
    for record in records:
        failed = [event for event in record.events if event.type == FAILED]
        if failed:
            said.append(f"{record.id}: {failed[-1].operation} failed: {failed[-1].message}")
    return tuple(said)
