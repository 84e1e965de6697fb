"""Which gateways are audited and which engines are asked: from pods of a Kubernetes API, or from flags."""

from collections.abc import Iterable
from dataclasses import dataclass

from resync.cluster.pods import Pod
from resync.kvsync import fleet
from resync.observer.settings import Place

PORT_LABEL = "model.aibrix.ai/port"
ENGINE_PORT = 8000
OVER = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway or an engine that may be asked; `base_url` is None while it has no address.

    `one_rank` is False where its labels say that it has several data-parallel ranks, or that cannot be read.
    """

    pod_key: str
    base_url: str | None
    one_rank: bool = True


def gateways_of(pods: Iterable[Pod], *, port: int) -> tuple[Peer, ...]:
    """Every gateway pod that has not ended; one without an address is selected and cannot be audited."""
    return tuple(
        Peer(pod.pod_key, _url(pod, port)) for pod in pods if pod.phase not in OVER and not pod.deleting
    )


def engines_of(pods: Iterable[Pod]) -> tuple[Peer, ...]:
    """The engine pods that a gateway has to be subscribed to, by the gate in `resync.kvsync.fleet`."""
    return tuple(
        Peer(pod.pod_key, _url(pod, _port(pod)), one_rank=fleet.ranks_of(pod.labels) == 1)
        for pod in pods
        if _publishes(pod)
    )


def unready_of(pods: Iterable[Pod]) -> frozenset[str]:
    """The pods among them that Kubernetes calls not ready, as pod_keys."""
    return frozenset(pod.pod_key for pod in pods if not pod.ready)


def peers_of(places: Iterable[Place], *, namespace: str) -> tuple[Peer, ...]:
    """Peers named by flags."""
    return tuple(Peer(f"{namespace}/{place.name}", f"http://{place.ip}:{place.port}") for place in places)


def _publishes(pod: Pod) -> bool:
    facts = fleet.PodFacts(
        pod.pod_key, pod.uid, pod.ip, pod.phase, pod.labels, pod.annotations, deleting=pod.deleting
    )
    return bool(fleet.wanted(facts))


def _port(pod: Pod) -> int:
    label = pod.labels.get(PORT_LABEL, "")
    return int(label) if label.isdigit() else ENGINE_PORT


def _url(pod: Pod, port: int) -> str | None:
    return f"http://{pod.ip}:{port}" if pod.ip else None
