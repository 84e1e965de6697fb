"""Which data a fault touches: what leaves one pod, towards everybody or towards a set of peers.

Chaos Mesh shapes egress only, and names peers by an ipset of addresses taken when the fault was injected; a
rule here is the same thing (chaos-mesh `pkg/chaosdaemon/tc_server.go`). The link asks the rules of the pod
that data *leaves*, with the address and port it travels *to*.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

ANY_PORT = 0


@dataclass(frozen=True, slots=True)
class Peer:
    """Where data travels to: the advertised address of a pod (or the raw one of an outsider) and the port."""

    address: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Destination:
    """A network, and one port of it or `ANY_PORT`."""

    network: IPv4Network
    port: int = ANY_PORT

    def holds(self, peer: Peer) -> bool:
        """Whether data to this peer goes to this destination."""
        return peer.address in self.network and self.port in (ANY_PORT, peer.port)


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault on the egress of one pod.

    `kind` is the word of the node daemon (`netem`, `tbf`, `drop`); `settings` are its parameters as the
    daemon got them. `towards` None: all egress. An empty set of destinations matches nothing.
    """

    kind: str
    settings: Mapping[str, str | float] = field(default_factory=dict)
    towards: tuple[Destination, ...] | None = None

    def touches(self, peer: Peer) -> bool:
        """Whether data to this peer is under this rule."""
        return self.towards is None or any(destination.holds(peer) for destination in self.towards)
