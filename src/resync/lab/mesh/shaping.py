"""What an experiment wants of each pod's network: ipsets and traffic-control rules, by direction. Pure.

Egress is shaped, so `to` puts rules on the source pods (towards the targets), `from` on the target pods
(towards the sources), `both` on both; a pod with nothing to shape is a record all the same. Names and
shapes are those of chaos-mesh `controllers/chaosimpl/networkchaos/trafficcontrol/impl.go`,
`controllers/podnetworkchaos/{ipset,netutils}`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Final

from resync.lab.mesh.durations import seconds
from resync.lab.mesh.errors import SpecError
from resync.lab.mesh.objects import (
    SOURCE_KEY,
    TARGET_KEY,
    Choice,
    NetworkChaos,
    Pod,
    PodNetworkSpec,
    RawIPSet,
    RawTrafficControl,
    Record,
)
from resync.lab.node.vocabulary import Chain, CidrAndPort, IPSet, Netem, Tc

ACTIONS: Final = frozenset({"netem", "delay", "loss", "duplicate", "corrupt"})
_NAME_LENGTH: Final = 27
_SHORT_NAME: Final = 6
_SHAPED_BY: Final = {SOURCE_KEY: frozenset({"to", "both"}), TARGET_KEY: frozenset({"from", "both"})}
_SUFFIX: Final = {SOURCE_KEY: "netgt", TARGET_KEY: "nesrc"}


def choices(chaos: NetworkChaos) -> Mapping[str, Choice]:
    """The experiment's selections by record key: the sources, and the targets if there are any."""
    found: dict[str, Choice] = {SOURCE_KEY: chaos.spec}
    if chaos.spec.target is not None:
        found[TARGET_KEY] = chaos.spec.target
    return found


def shapes(chaos: NetworkChaos, record: Record) -> bool:
    """Whether this record's pod gets rules at all."""
    return chaos.spec.direction in _SHAPED_BY[record.selector_key]


def wanted(chaos: NetworkChaos, record: Record, pods: Mapping[str, Pod]) -> PodNetworkSpec:
    """This experiment's share of the record's pod. Raises SpecError for what cannot be carried out."""
    spec = chaos.spec
    if spec.action not in ACTIONS:
        raise SpecError(f"the lab's mesh does not do NetworkChaos action {spec.action!r} yet")
    if not any((spec.delay, spec.loss, spec.duplicate, spec.corrupt)):
        raise SpecError(
            "invalid spec for netem action, at least one is required from delay, loss, duplicate, corrupt"
        )
    peers = _peers(chaos, record, pods)
    sets = _ipsets(chaos, record, peers) if peers else ()
    device = spec.device if record.selector_key == SOURCE_KEY else spec.target_device
    tc = RawTrafficControl(
        type="netem",
        source=chaos.metadata.key,
        ipset=sets[-1].name if sets else "",
        device=device,
        delay=spec.delay,
        loss=spec.loss,
        duplicate=spec.duplicate,
        corrupt=spec.corrupt,
    )
    return PodNetworkSpec(ipsets=sets, tcs=(tc,))


def merged(present: PodNetworkSpec, source: str, share: PodNetworkSpec | None) -> PodNetworkSpec:
    """The pod's spec with this source's share replaced; None takes the source away."""
    share = share or PodNetworkSpec()
    return PodNetworkSpec(
        ipsets=tuple(part for part in present.ipsets if part.source != source) + share.ipsets,
        iptables=tuple(part for part in present.iptables if part.source != source) + share.iptables,
        tcs=tuple(part for part in present.tcs if part.source != source) + share.tcs,
    )


def request(spec: PodNetworkSpec) -> tuple[tuple[IPSet, ...], tuple[Chain, ...], tuple[Tc, ...]]:
    """The spec as the node daemon wants to hear it."""
    ipsets = tuple(
        IPSet(
            part.name,
            part.ipset_type,
            part.cidrs,
            part.cidr_and_ports,
            part.set_names,
        )
        for part in spec.ipsets
    )
    chains = tuple(
        Chain(part.name, part.direction, part.ipsets, "DROP", part.device) for part in spec.iptables
    )
    return ipsets, chains, tuple(Tc("NETEM", _netem(part), part.ipset, part.device) for part in spec.tcs)


def set_name(experiment: str, suffix: str) -> str:
    """An ipset's name of at most 27 characters, the same for the same experiment."""
    if len(experiment) < _SHORT_NAME:
        return f"{experiment}_{suffix}"
    rest = hashlib.sha256(experiment[5:].encode()).hexdigest()
    return f"{experiment[:5]}_{rest[: _NAME_LENGTH - 7 - len(suffix)]}_{suffix}"


def _peers(chaos: NetworkChaos, record: Record, pods: Mapping[str, Pod]) -> tuple[tuple[str, int], ...]:
    """Networks of the other side, as they are now, with a port or 0.

    Empty means: no other side, all egress is shaped.
    """
    other = TARGET_KEY if record.selector_key == SOURCE_KEY else SOURCE_KEY
    ids = [peer.id for peer in chaos.records or () if peer.selector_key == other]
    addresses = tuple(
        (f"{pods[id_].status.pod_ip}/32", 0) for id_ in ids if id_ in pods and pods[id_].status.pod_ip
    )
    if ids and not addresses:
        raise SpecError(f"no pod of the other side has an address: {', '.join(ids)}")
    external = chaos.spec.external_targets if record.selector_key == SOURCE_KEY else ()
    return tuple(_external(text) for text in external) + addresses


def _external(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    try:
        return str(IPv4Network(host)), int(port or "0")
    except ValueError as error:
        raise SpecError(f"the lab's mesh knows external targets as IPv4 addresses, not {text!r}") from error


def _ipsets(chaos: NetworkChaos, record: Record, peers: Sequence[tuple[str, int]]) -> tuple[RawIPSet, ...]:
    source, suffix = chaos.metadata.key, _SUFFIX[record.selector_key]
    net, netport, both = (
        set_name(chaos.metadata.name, f"{kind}_{suffix}") for kind in ("net", "netport", "set")
    )
    cidrs = tuple(cidr for cidr, port in peers if not port)
    ported = tuple(CidrAndPort(cidr, port) for cidr, port in peers if port)
    return (
        RawIPSet(name=net, ipset_type="hash:net", source=source, cidrs=cidrs),
        RawIPSet(name=netport, ipset_type="hash:net,port", source=source, cidr_and_ports=ported),
        RawIPSet(name=both, ipset_type="list:set", source=source, set_names=(net, netport)),
    )


def _netem(tc: RawTrafficControl) -> Netem:
    delay, reorder = tc.delay, tc.delay.reorder if tc.delay is not None else None
    jitter = delay.jitter if delay is not None and seconds(delay.jitter) else ""
    return Netem(
        time=delay.latency if delay is not None else "",
        jitter=jitter,
        delay_corr=_number(delay.correlation) if delay is not None else 0.0,
        loss=_number(tc.loss.loss) if tc.loss is not None else 0.0,
        loss_corr=_number(tc.loss.correlation) if tc.loss is not None else 0.0,
        gap=reorder.gap if reorder is not None else 0,
        duplicate=_number(tc.duplicate.duplicate) if tc.duplicate is not None else 0.0,
        duplicate_corr=_number(tc.duplicate.correlation) if tc.duplicate is not None else 0.0,
        reorder=_number(reorder.reorder) if reorder is not None else 0.0,
        reorder_corr=_number(reorder.correlation) if reorder is not None else 0.0,
        corrupt=_number(tc.corrupt.corrupt) if tc.corrupt is not None else 0.0,
        corrupt_corr=_number(tc.corrupt.correlation) if tc.corrupt is not None else 0.0,
    )


def _number(text: str) -> float:
    try:
        return float(text or "0")
    except ValueError as error:
        raise SpecError(f"{text!r} is not a percentage") from error
