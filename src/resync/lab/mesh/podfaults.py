"""PodChaos: pod-kill, pod-failure, container-kill. Pure.

pod-failure swaps the image of every container for one that does nothing, in place: the pod keeps its node
and its address, and the image comes back from an annotation. The kills happen once; there is nothing to
recover from. Rules: chaos-mesh `controllers/chaosimpl/podchaos/{podkill,podfailure,containerkill}`,
`pkg/annotation/utils.go`, `pkg/selector/container/selector.go`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Final

from resync.lab.kube import Object
from resync.lab.mesh.objects import SOURCE_KEY, Chaos, Pod, Record, Spec
from resync.lab.mesh.records import Decision, Delete, Kill, Operation, Patch, World, arrived, missing
from resync.lab.mesh.selecting import choose, draw, matched

PAUSE_IMAGE: Final = "google-containers/pause:latest"
_KEY_LENGTH_MAX: Final = 63
_CONTAINER_KILL: Final = "container-kill"
_LISTS: Final = (("containers", "normal"), ("initContainers", "init"))


class PodChaosSpec(Spec, frozen=True, kw_only=True):
    """`spec` of a PodChaos; the grace period is pod-kill's, in seconds."""

    grace_period: int = 0
    container_names: tuple[str, ...] = ()


class PodChaos(Chaos, frozen=True, kw_only=True):
    """One experiment on pods as a whole."""

    spec: PodChaosSpec

    @property
    def one_shot(self) -> bool:
        """The kills happen once."""
        return self.spec.action != "pod-failure"


def select(chaos: PodChaos, world: World, dice: Random) -> tuple[Record, ...]:
    """The targets, chosen once: pods, or containers of them. Raises NothingSelectedError, SelectorError."""
    spec, namespace, pods = chaos.spec, chaos.metadata.namespace, list(world.pods.values())
    if spec.action == _CONTAINER_KILL:
        found = matched(spec.selector, namespace, pods, world.opted_in)
        candidates = [id_ for pod in found for id_ in _containers(pod, spec.container_names)]
        ids = draw(spec, candidates, dice)
    else:
        ids = tuple(pod.metadata.key for pod in choose(spec, namespace, pods, world.opted_in, dice))
    return tuple(Record(id=id_, selector_key=SOURCE_KEY) for id_ in ids)


def _containers(pod: Pod, wanted: Sequence[str]) -> Iterator[str]:
    """Ids of the containers wanted; unless one is named, the first."""
    names = [str(container["name"]) for container in pod.spec.containers]
    for name in names if wanted else names[:1]:
        if not wanted or name in wanted:
            yield f"{pod.metadata.key}/{name}"


def step(chaos: PodChaos, record: Record, world: World, operation: Operation) -> Decision:
    """What this record needs next to get on with the operation."""
    namespace, name, *container = record.id.split("/")
    pod = world.pods.get(f"{namespace}/{name}")
    if operation is Operation.RECOVER and chaos.one_shot:
        return arrived(operation)
    if pod is None:
        return missing(operation, record)
    return _DEEDS[chaos.spec.action](chaos, pod, operation, *container)


def _pod_kill(chaos: PodChaos, pod: Pod, operation: Operation) -> Decision:
    return Delete(operation, pod, chaos.spec.grace_period)


def _container_kill(_: PodChaos, pod: Pod, operation: Operation, container: str) -> Decision:
    return Kill(operation, pod, container)


def _pod_failure(chaos: PodChaos, pod: Pod, operation: Operation) -> Decision:
    swap = _paused if operation is Operation.APPLY else _restored
    annotations: dict[str, str | None] = {}
    lists: Object = {}
    for word, role in _LISTS:
        present = pod.spec.containers if word == "containers" else pod.spec.init_containers
        if present:
            lists[word] = [swap(chaos, pod, item, role, annotations) for item in present]
    metadata = {"uid": pod.metadata.uid, "annotations": annotations}
    return Patch(operation, pod, {"metadata": metadata, "spec": lists})


def _paused(
    chaos: PodChaos, pod: Pod, container: Object, role: str, annotations: dict[str, str | None]
) -> Object:
    """The container with the image that does nothing; its own is noted. One noted already is left alone."""
    key = _annotation(chaos, str(container["name"]), role)
    if key in pod.metadata.annotations:
        return container
    annotations[key] = str(container.get("image", ""))
    return {**container, "image": PAUSE_IMAGE}


def _restored(
    chaos: PodChaos, pod: Pod, container: Object, role: str, annotations: dict[str, str | None]
) -> Object:
    """The container with the image that was noted, and the note taken off."""
    key = _annotation(chaos, str(container["name"]), role)
    if key not in pod.metadata.annotations:
        return container
    annotations[key] = None
    return {**container, "image": pod.metadata.annotations[key]}


def _annotation(chaos: PodChaos, container: str, role: str) -> str:
    """Where the image is noted. Two experiments with long names meet on one key, as in the real one."""
    short = f"{container}-{role}"
    key = f"chaos-mesh-{chaos.metadata.name}-pod-failure-{short}-image"
    return key if len(key) <= _KEY_LENGTH_MAX else short


_DEEDS: Final[Mapping[str, Callable[..., Decision]]] = {
    "pod-kill": _pod_kill,
    "pod-failure": _pod_failure,
    _CONTAINER_KILL: _container_kill,
}
