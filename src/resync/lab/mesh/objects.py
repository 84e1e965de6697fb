"""The fields of Chaos Mesh's objects that decide anything, as typed records.

Names and defaults are those of chaos-mesh `api/v1alpha1`; fields this mesh does not act on are not read,
and stay on the object because every write is a merge-patch.
"""

from typing import Any, Final

import msgspec

from resync.lab.kube import Object
from resync.lab.metadata import Metadata

FINALIZER: Final = "chaos-mesh/records"
PAUSE: Final = "experiment.chaos-mesh.org/pause"
CLEAN_FINALIZER: Final = "chaos-mesh.chaos-mesh.org/cleanFinalizer"
INJECT: Final = "chaos-mesh.org/inject"

RUN: Final = "Run"
STOP: Final = "Stop"
NOT_INJECTED: Final = "Not Injected"
NOT_INJECTED_WAIT: Final = "Not Injected/Wait"
INJECTED: Final = "Injected"
INJECTED_WAIT: Final = "Injected/Wait"
SOURCE_KEY: Final = "."
TARGET_KEY: Final = ".Target"


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of an object as the API writes it."""


class Expression(Part, frozen=True, kw_only=True):
    """One entry of `expressionSelectors`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Selector(Part, frozen=True, kw_only=True):
    """`spec.selector`; everything is optional."""

    namespaces: tuple[str, ...] = ()
    label_selectors: dict[str, str] = {}
    expression_selectors: tuple[Expression, ...] = ()
    annotation_selectors: dict[str, str] = {}
    field_selectors: dict[str, str] = {}
    nodes: tuple[str, ...] = ()
    node_selectors: dict[str, str] = {}
    pods: dict[str, list[str]] = {}
    pod_phase_selectors: tuple[str, ...] = ()


class Choice(Part, frozen=True, kw_only=True):
    """A selector and how many of what it matches."""

    selector: Selector
    mode: str
    value: str = ""


class RecordEvent(Part, frozen=True, kw_only=True):
    """What happened to one target: `Succeeded` or `Failed`, `Apply` or `Recover`."""

    type: str
    operation: str
    timestamp: str
    message: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One frozen target of an experiment."""

    id: str
    selector_key: str
    phase: str = NOT_INJECTED
    injected_count: int = 0
    recovered_count: int = 0
    events: tuple[RecordEvent, ...] | None = None


class Experiment(Part, frozen=True, kw_only=True):
    """`status.experiment`."""

    desired_phase: str = ""
    container_records: tuple[Record, ...] | None = None


class Condition(Part, frozen=True, kw_only=True):
    """One of `Selected AllInjected AllRecovered Paused`."""

    type: str
    status: str


class ChaosStatus(Part, frozen=True, kw_only=True):
    """`status` of an experiment."""

    conditions: tuple[Condition, ...] = ()
    experiment: Experiment = Experiment()
    instances: dict[str, int] = {}


class Spec(Choice, frozen=True, kw_only=True):
    """What the `spec` of every kind of experiment has."""

    action: str
    duration: str | None = None


class Chaos(Part, frozen=True, kw_only=True):
    """One experiment of any kind."""

    metadata: Metadata
    spec: Spec
    status: ChaosStatus = ChaosStatus()

    @property
    def records(self) -> tuple[Record, ...] | None:
        """The frozen targets, None before the selection."""
        return self.status.experiment.container_records

    @property
    def paused(self) -> bool:
        """Whether somebody asked for a pause."""
        return self.metadata.annotations.get(PAUSE) == "true"

    @property
    def deleted(self) -> bool:
        """Whether it is on its way out."""
        return self.metadata.terminating

    @property
    def one_shot(self) -> bool:
        """Whether it happens once and is over, so that neither time nor a pause ends it."""
        return False


class PodStatus(Part, frozen=True, kw_only=True):
    """What a selector looks at in a pod's status."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    nominated_node_name: str = ""


class PodSpec(Part, frozen=True, kw_only=True):
    """What a selector looks at in a pod's spec, and the containers as they are."""

    node_name: str = ""
    restart_policy: str = ""
    scheduler_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    containers: list[Object] = []
    init_containers: list[Object] = []


class Pod(Part, frozen=True, kw_only=True):
    """A pod as the mesh sees it."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Namespace(Part, frozen=True, kw_only=True):
    """A namespace and its opt-in."""

    metadata: Metadata

    @property
    def opted_in(self) -> bool:
        """Whether faults are allowed here."""
        return self.metadata.annotations.get(INJECT) == "enabled"


def plain(part: msgspec.Struct) -> Object:
    """The part as JSON, without nulls: in a merge-patch a null would delete."""
    found: Object = _without_nulls(msgspec.to_builtins(part))
    return found


def _without_nulls(value: object) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(inner) for inner in value]
    return value
