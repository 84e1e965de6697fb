"""The network's objects: NetworkChaos as its author writes it, and PodNetworkChaos, one per pod.

Names and defaults are those of chaos-mesh `api/v1alpha1/{networkchaos,podnetworkchaos}_types.go`.
"""

from typing import Final

from resync.lab.mesh.objects import Chaos, Choice, Part, Spec
from resync.lab.metadata import Metadata
from resync.lab.node.vocabulary import CidrAndPort

RESET: Final = "resync.dev/partition"
"""Annotation on a NetworkChaos, ours: with the value `reset` a partition also resets what it cuts."""
RESET_SOURCES: Final = "resync.dev/reset-sources"
"""Annotation on a PodNetworkChaos, ours: the experiments, separated by blanks, whose partition resets."""


class Reorder(Part, frozen=True, kw_only=True, omit_defaults=False):
    """`delay.reorder`."""

    reorder: str
    gap: int
    correlation: str = "0"


class Delay(Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.delay`."""

    latency: str
    jitter: str = "0ms"
    correlation: str = "0"
    reorder: Reorder | None = None


class Loss(Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.loss`, percent as text."""

    loss: str
    correlation: str = "0"


class Duplicate(Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.duplicate`, percent as text."""

    duplicate: str
    correlation: str = "0"


class Corrupt(Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.corrupt`, percent as text."""

    corrupt: str
    correlation: str = "0"


class Rate(Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.rate`: netem's own."""

    rate: str


class Bandwidth(Part, frozen=True, kw_only=True, omit_defaults=False):
    """`spec.bandwidth`: `rate` as tc(8) reads it, `limit` and `buffer` in bytes."""

    rate: str
    limit: int
    buffer: int
    peakrate: int | None = None
    minburst: int | None = None


class NetworkSpec(Spec, frozen=True, kw_only=True):
    """`spec` of a NetworkChaos."""

    direction: str = "to"
    target: Choice | None = None
    external_targets: tuple[str, ...] = ()
    device: str = ""
    target_device: str = ""
    delay: Delay | None = None
    loss: Loss | None = None
    duplicate: Duplicate | None = None
    corrupt: Corrupt | None = None
    rate: Rate | None = None
    bandwidth: Bandwidth | None = None


class NetworkChaos(Chaos, frozen=True, kw_only=True):
    """One experiment on the network."""

    spec: NetworkSpec

    @property
    def resets(self) -> bool:
        """Whether the partition is to reset the connections it cuts."""
        return self.metadata.annotations.get(RESET) == "reset"


class RawIPSet(Part, frozen=True, kw_only=True):
    """An ipset on one pod, and the experiment it belongs to."""

    name: str
    ipset_type: str
    source: str
    cidrs: tuple[str, ...] = ()
    cidr_and_ports: tuple[CidrAndPort, ...] = ()
    set_names: tuple[str, ...] = ()


class RawTrafficControl(Part, frozen=True, kw_only=True):
    """A traffic-control rule on one pod, and the experiment it belongs to."""

    type: str
    source: str
    ipset: str = ""
    device: str = ""
    delay: Delay | None = None
    loss: Loss | None = None
    duplicate: Duplicate | None = None
    corrupt: Corrupt | None = None
    rate: Rate | None = None
    bandwidth: Bandwidth | None = None


class RawIptables(Part, frozen=True, kw_only=True):
    """A packet-filter chain on one pod, and the experiment it belongs to."""

    name: str
    direction: str
    source: str
    ipsets: tuple[str, ...] = ()
    device: str = ""


class PodNetworkSpec(Part, frozen=True, kw_only=True):
    """Everything all experiments want of one pod's network."""

    ipsets: tuple[RawIPSet, ...] = ()
    iptables: tuple[RawIptables, ...] = ()
    tcs: tuple[RawTrafficControl, ...] = ()


class PodNetworkStatus(Part, frozen=True, kw_only=True):
    """How far the node is: the generation it last tried, and why that failed."""

    failed_message: str = ""
    observed_generation: int = 0


class PodNetworkChaos(Part, frozen=True, kw_only=True):
    """The per-pod object through which experiments reach the node."""

    metadata: Metadata
    spec: PodNetworkSpec = PodNetworkSpec()
    status: PodNetworkStatus = PodNetworkStatus()
