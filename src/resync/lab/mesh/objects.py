"""The fields of Chaos Mesh's objects that decide anything, as typed records.

Names and defaults are those of chaos-mesh `api/v1alpha1`; fields this mesh does not act on are not read,
and stay on the object because every write is a merge-patch.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from resync.lab.kube import Object
from resync.lab.node.vocabulary import CidrAndPort

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


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of an object as the API writes it."""


class OwnerReference(_Part, frozen=True, kw_only=True):
    """Who an object belongs to."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class Metadata(_Part, frozen=True, kw_only=True):
    """What every object has."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime = datetime.fromtimestamp(0, UTC)
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []
    owner_references: list[OwnerReference] = []

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class Expression(_Part, frozen=True, kw_only=True):
    """One entry of `expressionSelectors`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Selector(_Part, frozen=True, kw_only=True):
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


class Choice(_Part, frozen=True, kw_only=True):
    """A selector and how many of what it matches."""

    selector: Selector
    mode: str
    value: str = ""


class Reorder(_Part, frozen=True, kw_only=True, omit_defaults=False):
    """`delay.reorder`."""

    reorder: str
    gap: int
    correlation: str = "0"


class Delay(_Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.delay`."""

    latency: str
    jitter: str = "0ms"
    correlation: str = "0"
    reorder: Reorder | None = None


class Loss(_Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.loss`, percent as text."""

    loss: str
    correlation: str = "0"


class Duplicate(_Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.duplicate`, percent as text."""

    duplicate: str
    correlation: str = "0"


class Corrupt(_Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.corrupt`, percent as text."""

    corrupt: str
    correlation: str = "0"


class NetworkSpec(Choice, frozen=True, kw_only=True):
    """`spec` of a NetworkChaos."""

    action: str
    direction: str = "to"
    target: Choice | None = None
    external_targets: tuple[str, ...] = ()
    device: str = ""
    target_device: str = ""
    duration: str | None = None
    delay: Delay | None = None
    loss: Loss | None = None
    duplicate: Duplicate | None = None
    corrupt: Corrupt | None = None


class RecordEvent(_Part, frozen=True, kw_only=True):
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


class Experiment(_Part, frozen=True, kw_only=True):
    """`status.experiment`."""

    desired_phase: str = ""
    container_records: tuple[Record, ...] | None = None


class Condition(_Part, frozen=True, kw_only=True):
    """One of `Selected AllInjected AllRecovered Paused`."""

    type: str
    status: str


class ChaosStatus(_Part, frozen=True, kw_only=True):
    """`status` of a NetworkChaos."""

    conditions: tuple[Condition, ...] = ()
    experiment: Experiment = Experiment()
    instances: dict[str, int] = {}


class NetworkChaos(_Part, frozen=True, kw_only=True):
    """One experiment on the network."""

    metadata: Metadata
    spec: NetworkSpec
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
        return self.metadata.deletion_timestamp is not None


class RawIPSet(_Part, frozen=True, kw_only=True):
    """An ipset on one pod, and the experiment it belongs to."""

    name: str
    ipset_type: str
    source: str
    cidrs: tuple[str, ...] = ()
    cidr_and_ports: tuple[CidrAndPort, ...] = ()
    set_names: tuple[str, ...] = ()


class RawTrafficControl(_Part, frozen=True, kw_only=True):
    """A traffic-control rule on one pod, and the experiment it belongs to."""

    type: str
    source: str
    ipset: str = ""
    device: str = ""
    delay: Delay | None = None
    loss: Loss | None = None
    duplicate: Duplicate | None = None
    corrupt: Corrupt | None = None


class RawIptables(_Part, frozen=True, kw_only=True):
    """A packet-filter chain on one pod, and the experiment it belongs to."""

    name: str
    direction: str
    source: str
    ipsets: tuple[str, ...] = ()
    device: str = ""


class PodNetworkSpec(_Part, frozen=True, kw_only=True):
    """Everything all experiments want of one pod's network."""

    ipsets: tuple[RawIPSet, ...] = ()
    iptables: tuple[RawIptables, ...] = ()
    tcs: tuple[RawTrafficControl, ...] = ()


class PodNetworkStatus(_Part, frozen=True, kw_only=True):
    """How far the node is: the generation it last tried, and why that failed."""

    failed_message: str = ""
    observed_generation: int = 0


class PodNetworkChaos(_Part, frozen=True, kw_only=True):
    """The per-pod object through which experiments reach the node."""

    metadata: Metadata
    spec: PodNetworkSpec = PodNetworkSpec()
    status: PodNetworkStatus = PodNetworkStatus()


class PodStatus(_Part, frozen=True, kw_only=True):
    """What a selector looks at in a pod's status."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    nominated_node_name: str = ""


class PodSpec(_Part, frozen=True, kw_only=True):
    """What a selector looks at in a pod's spec."""

    node_name: str = ""
    restart_policy: str = ""
    scheduler_name: str = ""
    service_account_name: str = ""
    host_network: bool = False


class Pod(_Part, frozen=True, kw_only=True):
    """A pod as the mesh sees it."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Namespace(_Part, frozen=True, kw_only=True):
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
