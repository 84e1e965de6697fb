"""The lab's network: a userspace TCP relay between pods that applies faults, per direction and per peer."""

from resync.lab.link.errors import AddressInUseError, LinkError, UnknownPodError, UnsupportedFaultError
from resync.lab.link.link import Endpoints, Link, LinkPort, LinkStatistics
from resync.lab.link.rules import Destination, Peer, Rule

__all__ = [
    "AddressInUseError",
    "Destination",
    "Endpoints",
    "Link",
    "LinkError",
    "LinkPort",
    "LinkStatistics",
    "Peer",
    "Rule",
    "UnknownPodError",
    "UnsupportedFaultError",
]
