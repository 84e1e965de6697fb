"""One pod's network object, put together from the shares of experiments and told to the node's daemon. Pure.

Shapes: chaos-mesh `controllers/podnetworkchaos/controller.go`, `pkg/netem/convert.go`.
"""

from resync.lab.mesh.durations import seconds
from resync.lab.mesh.errors import SpecError
from resync.lab.mesh.networks import Bandwidth, PodNetworkSpec, RawTrafficControl
from resync.lab.node.vocabulary import DROP, RESET, Chain, IPSet, Netem, Tbf, Tc


def merged(present: PodNetworkSpec, source: str, share: PodNetworkSpec | None) -> PodNetworkSpec:
    """The pod's spec with this source's share replaced; None takes the source away."""
    share = share or PodNetworkSpec()
    return PodNetworkSpec(
        ipsets=tuple(part for part in present.ipsets if part.source != source) + share.ipsets,
        iptables=tuple(part for part in present.iptables if part.source != source) + share.iptables,
        tcs=tuple(part for part in present.tcs if part.source != source) + share.tcs,
    )


def request(
    spec: PodNetworkSpec, resetting: frozenset[str] = frozenset()
) -> tuple[tuple[IPSet, ...], tuple[Chain, ...], tuple[Tc, ...]]:
    """The spec as the node daemon wants to hear it; partitions of the sources in `resetting` also reset.

    Raises SpecError for a percentage that is none.
    """
    ipsets = tuple(
        IPSet(part.name, part.ipset_type, part.cidrs, part.cidr_and_ports, part.set_names)
        for part in spec.ipsets
    )
    chains = tuple(
        Chain(
            part.name,
            part.direction.upper(),
            part.ipsets,
            RESET if part.source in resetting else DROP,
            part.device,
        )
        for part in spec.iptables
    )
    return ipsets, chains, tuple(_tc(part) for part in spec.tcs)


def _tc(part: RawTrafficControl) -> Tc:
    if part.bandwidth is not None:
        return Tc("BANDWIDTH", tbf=_tbf(part.bandwidth), ipset=part.ipset, device=part.device)
    return Tc("NETEM", netem=_netem(part), ipset=part.ipset, device=part.device)


def _tbf(asked: Bandwidth) -> Tbf:
    """The peak is only sent when both of its parts are given."""
    peak = (asked.peakrate, asked.minburst) if asked.peakrate and asked.minburst else (0, 0)
    return Tbf(asked.rate, asked.limit, asked.buffer, *peak)


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
        rate=tc.rate.rate if tc.rate is not None else "",
    )


def _number(text: str) -> float:
    try:
        return float(text or "0")
    except ValueError as error:
        raise SpecError(f"{text!r} is not a percentage") from error
