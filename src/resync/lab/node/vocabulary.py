"""What a node daemon can be asked about one pod's network, in Chaos Mesh's own words.

Each call carries the whole desired state, in three parts that Chaos Mesh's daemon takes in this order:
FlushIPSets, SetIptablesChains, SetTcs; recovery is the same three, empty (chaos-mesh
`pkg/chaosdaemon/pb/chaosdaemon.proto`). Field names are the protocol's, so a recorded request of the real
controller reads as one of ours.
"""

import msgspec


class CidrAndPort(msgspec.Struct, frozen=True):
    """One member of a `hash:net,port` set."""

    cidr: str
    port: int


class IPSet(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named set of destinations: `hash:net`, `hash:net,port`, or a `list:set` of those."""

    name: str
    type: str
    cidrs: tuple[str, ...] = ()
    cidr_and_ports: tuple[CidrAndPort, ...] = ()
    set_names: tuple[str, ...] = ()


DROP = "DROP"
"""Packets vanish in silence: Chaos Mesh's partition."""
RESET = "RESET"
"""Ours: as DROP, and the connections that are cut are reset at both ends when the chain comes into force."""


class Chain(msgspec.Struct, frozen=True, omit_defaults=True):
    """A packet-filter chain: what a partition is made of.

    `direction` is INPUT (the protocol's zero value) or OUTPUT; no `ipsets` means every peer.
    """

    name: str
    direction: str = "INPUT"
    ipsets: tuple[str, ...] = ()
    target: str = ""
    device: str = ""


class Netem(msgspec.Struct, frozen=True, omit_defaults=True):
    """netem parameters: times as tc(8) reads them, rates and correlations in percent."""

    time: str = ""
    jitter: str = ""
    delay_corr: float = 0.0
    loss: float = 0.0
    loss_corr: float = 0.0
    gap: int = 0
    duplicate: float = 0.0
    duplicate_corr: float = 0.0
    reorder: float = 0.0
    reorder_corr: float = 0.0
    corrupt: float = 0.0
    corrupt_corr: float = 0.0
    rate: str = ""

    def asked(self) -> dict[str, str | float]:
        """The parameters that ask for something: what the protocol would send."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value}


class Tbf(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token bucket: `rate` as tc(8) reads it, the rest in bytes."""

    rate: str
    limit: int = 0
    buffer: int = 0
    peak_rate: int = 0
    min_burst: int = 0


class Tc(msgspec.Struct, frozen=True, omit_defaults=True):
    """One traffic-control rule on the pod's egress, NETEM or BANDWIDTH; no `ipset` means all of it."""

    type: str = "NETEM"
    netem: Netem | None = None
    tbf: Tbf | None = None
    ipset: str = ""
    device: str = ""
