"""Who is on the other side of an experiment on the network, as ipsets and under Chaos Mesh's names. Pure.

Names and shapes: chaos-mesh `controllers/podnetworkchaos/{ipset,netutils}`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Final

from resync.lab.mesh.errors import SpecError
from resync.lab.mesh.networks import NetworkChaos, RawIPSet
from resync.lab.mesh.objects import SOURCE_KEY, TARGET_KEY, Choice, Pod, Record
from resync.lab.node.vocabulary import CidrAndPort

_SET_NAME_LENGTH: Final = 27
_SHORT_NAME: Final = 6

Peers = Sequence[tuple[str, int]]
"""Networks, each with a port or 0. Empty: there is no other side, everything is meant."""


def choices(chaos: NetworkChaos) -> Mapping[str, Choice]:
    """The experiment's selections by record key: the sources, and the targets if there are any."""
    found: dict[str, Choice] = {SOURCE_KEY: chaos.spec}
    if chaos.spec.target is not None:
        found[TARGET_KEY] = chaos.spec.target
    return found


def device_of(chaos: NetworkChaos, record: Record) -> str:
    """The network device meant on the record's pod; empty for the usual one."""
    return chaos.spec.device if record.selector_key == SOURCE_KEY else chaos.spec.target_device


def peers_of(chaos: NetworkChaos, record: Record, pods: Mapping[str, Pod]) -> Peers:
    """The other side as it is now, external targets first. Raises SpecError for one nobody can name."""
    other = TARGET_KEY if record.selector_key == SOURCE_KEY else SOURCE_KEY
    ids = [peer.id for peer in chaos.records or () if peer.selector_key == other]
    addresses = tuple(
        (f"{pods[id_].status.pod_ip}/32", 0) for id_ in ids if id_ in pods and pods[id_].status.pod_ip
    )
    if ids and not addresses:
        raise SpecError(f"no pod of the other side has an address: {', '.join(ids)}")
    external = chaos.spec.external_targets if record.selector_key == SOURCE_KEY else ()
    return tuple(_external(text) for text in external) + addresses


def ipsets(chaos: NetworkChaos, peers: Peers, suffix: str) -> tuple[RawIPSet, ...]:
    """The sets that hold these peers, the one to be named in rules last; none for nobody in particular."""
    if not peers:
        return ()
    source = chaos.metadata.key
    net, netport, both = (
        short_name(chaos.metadata.name, _SET_NAME_LENGTH, f"{kind}_{suffix}")
        for kind in ("net", "netport", "set")
    )
    cidrs = tuple(cidr for cidr, port in peers if not port)
    ported = tuple(CidrAndPort(cidr, port) for cidr, port in peers if port)
    return (
        RawIPSet(name=net, ipset_type="hash:net", source=source, cidrs=cidrs),
        RawIPSet(name=netport, ipset_type="hash:net,port", source=source, cidr_and_ports=ported),
        RawIPSet(name=both, ipset_type="list:set", source=source, set_names=(net, netport)),
    )


def short_name(experiment: str, length: int, suffix: str = "") -> str:
    """A name of at most `length` characters, the same for the same experiment."""
    if len(experiment) < _SHORT_NAME:
        return f"{experiment}_{suffix}"
    rest = hashlib.sha256(experiment[5:].encode()).hexdigest()
    return f"{experiment[:5]}_{rest[: length - 7 - len(suffix)]}_{suffix}"


def _external(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    try:
        return str(IPv4Network(host)), int(port or "0")
    except ValueError as error:
        raise SpecError(f"the lab's mesh knows external targets as IPv4 addresses, not {text!r}") from error
