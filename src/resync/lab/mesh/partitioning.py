"""A partition as packet-filter chains: every packet of it is dropped at both ends. Pure.

`to` drops what the sources send, on the way out there and on the way in at the targets; `from` the mirror
image; `both` everything. Nobody on the other side means everybody. Order, names and shapes: chaos-mesh
`controllers/chaosimpl/networkchaos/partition/impl.go`, `controllers/podnetworkchaos/iptable`.
"""

from collections.abc import Mapping
from typing import Final

from resync.lab.mesh.networks import NetworkChaos, PodNetworkSpec, RawIptables
from resync.lab.mesh.objects import SOURCE_KEY, TARGET_KEY, Pod, Record
from resync.lab.mesh.peers import device_of, ipsets, peers_of, short_name

_SUFFIX: Final = {SOURCE_KEY: "tgt", TARGET_KEY: "src"}
_NAME_LENGTH: Final = {"output": 20, "input": 21}
_CHAINS: Final = {
    ("to", SOURCE_KEY): ("output",),
    ("to", TARGET_KEY): ("input",),
    ("from", SOURCE_KEY): ("input",),
    ("from", TARGET_KEY): ("output",),
    ("both", SOURCE_KEY): ("output", "input"),
    ("both", TARGET_KEY): ("output", "input"),
}


def cut(chaos: NetworkChaos, record: Record, pods: Mapping[str, Pod]) -> PodNetworkSpec:
    """This partition's share of the record's pod. Raises SpecError for what cannot be carried out.

    A pod with two chains holds its sets twice, as the real controller asks.
    """
    peers = peers_of(chaos, record, pods)
    directions = _CHAINS[chaos.spec.direction, record.selector_key]
    sets = ipsets(chaos, peers, _SUFFIX[record.selector_key])
    chains = tuple(
        RawIptables(
            name=f"{direction.upper()}/{short_name(chaos.metadata.name, _NAME_LENGTH[direction])}",
            direction=direction,
            source=chaos.metadata.key,
            ipsets=tuple(whole.name for whole in sets[-1:]),
            device=device_of(chaos, record),
        )
        for direction in directions
    )
    return PodNetworkSpec(ipsets=sets * len(directions), iptables=chains)
