"""The node's daemon: turns Chaos Mesh's ipsets, chains and traffic-control rules into rules of the link.

The one seam between mesh and node. Every call is the whole desired state of one pod, so sending it twice is
harmless and an empty call heals. What the link cannot do is refused before anything changes.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Final

from resync.lab.link import Destination, LinkError, LinkPort, Rule, UnknownPodError
from resync.lab.node.errors import DaemonError, NoSuchPodError
from resync.lab.node.vocabulary import Chain, IPSet, Tc

# A pod of the lab has one network; Chaos Mesh calls it eth0 when nobody names it.
DEVICES: Final = frozenset({"", "eth0"})


class NodeDaemon:
    """What the mesh may ask of the node about pods' networks."""

    def __init__(self, link: LinkPort) -> None:
        self._link = link

    async def set_network(
        self, pod_uid: str, ipsets: Sequence[IPSet], chains: Sequence[Chain], tcs: Sequence[Tc]
    ) -> None:
        """Make this the whole state of the pod's network faults.

        Raises NoSuchPodError when the pod does not run here, DaemonError when something asked for cannot be
        done; in both cases nothing has changed.
        """
        if chains:
            raise DaemonError(f"the lab's link has no packet filter yet, asked for {chains[0].name}")
        try:
            await self._link.set_rules(pod_uid, rules_of(ipsets, tcs))
        except UnknownPodError as error:
            raise NoSuchPodError(str(error)) from error
        except (LinkError, ValueError) as error:
            raise DaemonError(str(error)) from error


def rules_of(ipsets: Sequence[IPSet], tcs: Sequence[Tc]) -> tuple[Rule, ...]:
    """The link's rules for these.

    Raises DaemonError for a rule type, device or set that does not exist here.
    """
    sets = {ipset.name: ipset for ipset in ipsets}
    return tuple(_rule(tc, sets) for tc in tcs)


def _rule(tc: Tc, sets: Mapping[str, IPSet]) -> Rule:
    if tc.netem is None:
        raise DaemonError(f"the lab's link cannot do traffic control of type {tc.type} yet")
    if tc.device not in DEVICES:
        raise DaemonError(f"a pod of the lab has no network device {tc.device!r}; leave it out or say eth0")
    towards = _members(tc.ipset, sets) if tc.ipset else None
    return Rule("netem", tc.netem.asked(), towards)


def _members(name: str, sets: Mapping[str, IPSet]) -> tuple[Destination, ...]:
    ipset = sets.get(name)
    if ipset is None:
        raise DaemonError(f"the request names ipset {name} but does not define it")
    plain = tuple(Destination(IPv4Network(cidr)) for cidr in ipset.cidrs)
    ported = tuple(Destination(IPv4Network(pair.cidr), pair.port) for pair in ipset.cidr_and_ports)
    nested = tuple(member for inner in ipset.set_names for member in _members(inner, sets))
    return plain + ported + nested
