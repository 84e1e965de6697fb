"""Which data a fault touches: what leaves or reaches one pod, to or from everybody or a set of peers.

Chaos Mesh shapes egress only and filters both ways, and names peers by an ipset of addresses taken when the
fault was injected; a rule here is the same thing (chaos-mesh `pkg/chaosdaemon/{tc,iptables}_server.go`). The
link asks the egress rules of the pod that data leaves and the ingress rules of the pod it reaches.
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
class Way:
    """One direction between two pods, by uid and by address."""

    leaves: str
    origin: Peer
    reaches: str
    towards: Peer

    @property
    def back(self) -> "Way":
        """The other direction."""
        return Way(self.reaches, self.towards, self.leaves, self.origin)


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
    """One fault on one pod: on its egress, or on its ingress.

    `kind` is the word of the node daemon (`netem`, `tbf`, `drop`, `reset`); `settings` are its parameters as
    the daemon got them. `peers` None: whoever is at the other end. An empty set of peers matches nothing.
    """

    kind: str
    settings: Mapping[str, str | float] = field(default_factory=dict)
    peers: tuple[Destination, ...] | None = None
    ingress: bool = False

    def touches(self, peer: Peer) -> bool:
        """Whether data to (of an ingress rule: from) this peer is under this rule."""
        return self.peers is None or any(destination.holds(peer) for destination in self.peers)
