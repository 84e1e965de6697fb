"""What an experiment wants of each pod's egress: traffic-control rules, by direction. Pure.

`to` puts rules on the source pods (towards the targets), `from` on the target pods (towards the sources),
`both` on both; a pod with nothing to shape is a record all the same. Names and shapes: chaos-mesh
`controllers/chaosimpl/networkchaos/trafficcontrol/impl.go`.
"""

from collections.abc import Mapping
from typing import Final

from resync.lab.mesh.errors import SpecError
from resync.lab.mesh.networks import NetworkChaos, PodNetworkSpec, RawTrafficControl
from resync.lab.mesh.objects import SOURCE_KEY, TARGET_KEY, Pod, Record
from resync.lab.mesh.peers import device_of, ipsets, peers_of

_SHAPED_BY: Final = {SOURCE_KEY: frozenset({"to", "both"}), TARGET_KEY: frozenset({"from", "both"})}
_SUFFIX: Final = {SOURCE_KEY: "netgt", TARGET_KEY: "nesrc"}


def shapes(chaos: NetworkChaos, record: Record) -> bool:
    """Whether this record's pod gets rules at all."""
    return chaos.spec.direction in _SHAPED_BY[record.selector_key]


def shaped(chaos: NetworkChaos, record: Record, pods: Mapping[str, Pod]) -> PodNetworkSpec | None:
    """This experiment's share of the record's pod, None when its egress is left alone.

    Raises SpecError for what cannot be carried out.
    """
    if not shapes(chaos, record):
        return None
    make = _bandwidth if chaos.spec.action == "bandwidth" else _netem
    sets = ipsets(chaos, peers_of(chaos, record, pods), _SUFFIX[record.selector_key])
    rule = make(chaos, sets[-1].name if sets else "", device_of(chaos, record))
    return PodNetworkSpec(ipsets=sets, tcs=(rule,))


def _netem(chaos: NetworkChaos, ipset: str, device: str) -> RawTrafficControl:
    spec = chaos.spec
    if not any((spec.delay, spec.loss, spec.duplicate, spec.corrupt)):
        raise SpecError(
            "invalid spec for netem action, at least one is required from delay, loss, duplicate, corrupt"
        )
    return RawTrafficControl(
        type="netem",
        source=chaos.metadata.key,
        ipset=ipset,
        device=device,
        delay=spec.delay,
        loss=spec.loss,
        duplicate=spec.duplicate,
        corrupt=spec.corrupt,
        rate=spec.rate,
    )


def _bandwidth(chaos: NetworkChaos, ipset: str, device: str) -> RawTrafficControl:
    """The real controller crashes on a missing block and then says "injected"; here it fails."""
    if chaos.spec.bandwidth is None:
        raise SpecError("invalid spec for bandwidth action, its block `bandwidth` is required")
    return RawTrafficControl(
        type="bandwidth",
        source=chaos.metadata.key,
        ipset=ipset,
        device=device,
        bandwidth=chaos.spec.bandwidth,
    )
