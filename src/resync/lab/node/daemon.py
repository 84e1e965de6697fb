"""The node's daemon: what the mesh may ask of this node, in the words of Chaos Mesh's own.

About a pod's network every call is the whole desired state, turned into rules of the link; so sending it
twice is harmless and an empty call heals. What the link cannot do is refused before anything changes.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Final

import msgspec

from resync.lab.link import Destination, LinkError, LinkPort, Rule, UnknownPodError
from resync.lab.node.errors import DaemonError, NoSuchPodError
from resync.lab.node.processes import Processes
from resync.lab.node.vocabulary import DROP, RESET, Chain, IPSet, Tc

# A pod of the lab has one network; Chaos Mesh calls it eth0 when nobody names it.
DEVICES: Final = frozenset({"", "eth0"})
_KINDS: Final = {DROP: "drop", RESET: "reset"}
_INGRESS: Final = {"INPUT": True, "OUTPUT": False}


class NodeDaemon:
    """What the mesh may ask of the node."""

    def __init__(self, link: LinkPort, processes: Processes) -> None:
        self._link = link
        self._processes = processes

    async def set_network(
        self, pod_uid: str, ipsets: Sequence[IPSet], chains: Sequence[Chain], tcs: Sequence[Tc]
    ) -> None:
        """Make this the whole state of the pod's network faults.

        Raises NoSuchPodError when the pod does not run here, DaemonError when something asked for cannot be
        done; in both cases nothing has changed.
        """
        try:
            await self._link.set_rules(pod_uid, rules_of(ipsets, chains, tcs))
        except UnknownPodError as error:
            raise NoSuchPodError(str(error)) from error
        except (LinkError, ValueError) as error:
            raise DaemonError(str(error)) from error

    async def kill_container(self, pod_uid: str, container: str) -> None:
        """Kill the container, as SIGKILL does. Raises NoSuchPodError when it does not run here now."""
        self._processes.kill(pod_uid, container)


def rules_of(ipsets: Sequence[IPSet], chains: Sequence[Chain], tcs: Sequence[Tc]) -> tuple[Rule, ...]:
    """The link's rules for these.

    Raises DaemonError for a rule type, target, device or set that does not exist here.
    """
    sets = {ipset.name: ipset for ipset in ipsets}
    return tuple(_filter(chain, sets) for chain in chains) + tuple(_shape(tc, sets) for tc in tcs)


def _filter(chain: Chain, sets: Mapping[str, IPSet]) -> Rule:
    if chain.target not in _KINDS or chain.direction not in _INGRESS:
        raise DaemonError(
            f"the lab's link knows chains INPUT and OUTPUT with target {' or '.join(_KINDS)},"
            f" not {chain.direction} with {chain.target or 'none'} ({chain.name})"
        )
    _check_device(chain.device)
    members = tuple(member for name in chain.ipsets for member in _members(name, sets))
    peers = members if chain.ipsets else None
    return Rule(_KINDS[chain.target], {}, peers, ingress=_INGRESS[chain.direction])


def _shape(tc: Tc, sets: Mapping[str, IPSet]) -> Rule:
    _check_device(tc.device)
    peers = _members(tc.ipset, sets) if tc.ipset else None
    if tc.netem is not None:
        return Rule("netem", tc.netem.asked(), peers)
    if tc.tbf is not None:
        return Rule("tbf", msgspec.to_builtins(tc.tbf), peers)
    raise DaemonError(f"traffic control of type {tc.type} came without parameters")


def _check_device(device: str) -> None:
    if device not in DEVICES:
        raise DaemonError(f"a pod of the lab has no network device {device!r}; leave it out or say eth0")


def _members(name: str, sets: Mapping[str, IPSet]) -> tuple[Destination, ...]:
    ipset = sets.get(name)
    if ipset is None:
        raise DaemonError(f"the request names ipset {name} but does not define it")
    plain = tuple(Destination(IPv4Network(cidr)) for cidr in ipset.cidrs)
    ported = tuple(Destination(IPv4Network(pair.cidr), pair.port) for pair in ipset.cidr_and_ports)
    nested = tuple(member for inner in ipset.set_names for member in _members(inner, sets))
    return plain + ported + nested
