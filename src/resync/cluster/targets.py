"""Which pods a fault would hit, before it is injected.

Nothing selected is an error, and so is too much: the two ways in which an experiment can be green, or
ruinous, without anybody having meant it.
"""

from collections.abc import Iterable

import msgspec

from resync.cluster.connecting import Cluster
from resync.cluster.errors import NoTargetsError, TooManyTargetsError
from resync.cluster.manifests import Manifest
from resync.cluster.pods import Pod, list_pods
from resync.cluster.selectors import Selector, matches

NAMED_MAX = 8


class Targets(msgspec.Struct, frozen=True):
    """The pods on both sides of a fault, by name; `target` is empty when the fault has no second side.

    With a mode other than `all` the mesh draws from these; what it drew stands in the records of the injected
    fault.
    """

    source: tuple[Pod, ...]
    target: tuple[Pod, ...]

    @property
    def pods(self) -> tuple[Pod, ...]:
        """Both sides, each pod once."""
        return tuple({pod.pod_key: pod for pod in (*self.source, *self.target)}.values())


def resolve(cluster: Cluster, manifest: Manifest, *, pods_max: int | None = None) -> Targets:
    """The pods that the manifest means now, on at most `pods_max` pods altogether (None: no limit).

    Raises NoTargetsError when a side matches nobody, TooManyTargetsError, ClusterError.
    """
    source = _side(cluster, manifest.source, manifest, "selector")
    target = _side(cluster, manifest.target, manifest, "target selector") if manifest.target else ()
    found = Targets(source=source, target=target)
    if pods_max is not None and len(found.pods) > pods_max:
        raise TooManyTargetsError(
            f"{manifest.kind} {manifest.name} would hit {len(found.pods)} pods, more than the limit of"
            f" {pods_max}:"
            f" {_named(found.pods)}; narrow the selector or raise the limit on purpose"
        )
    return found


def _side(cluster: Cluster, selector: Selector, manifest: Manifest, side: str) -> tuple[Pod, ...]:
    places = selector.places(manifest.namespace)
    there = [pod for place in places for pod in list_pods(cluster, place)]
    chosen = tuple(pod for pod in there if matches(selector, pod, manifest.namespace))
    if not chosen:
        raise NoTargetsError(
            f"the {side} of {manifest.kind} {manifest.name} matches no pod: {selector} in"
            f" {', '.join(places)};"
            f" {_what_there_is(there)}"
        )
    return chosen


def _named(pods: Iterable[Pod]) -> str:
    names = [pod.pod_key for pod in pods]
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def _what_there_is(pods: list[Pod]) -> str:
    if not pods:
        return "there are no pods there at all"
    shown = [f"{pod.name} ({pod.phase}; {_labels(pod)})" for pod in pods[:NAMED_MAX]]
    more = f" and {len(pods) - NAMED_MAX} more" if len(pods) > NAMED_MAX else ""
    return f"the pods there are {', '.join(shown)}{more}"


def _labels(pod: Pod) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(pod.labels.items())) or "no labels"
