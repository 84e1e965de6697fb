"""The replica sets of a deployment: one per template it ever had, and which of them is the present one. Pure.

kubernetes/kubernetes, pkg/controller/deployment/util. kubectl reads the revisions to show a history and to
undo.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import xxhash

from resync.lab.controllers.objects import Deployment, ReplicaSet
from resync.lab.kube import DEPLOYMENTS, Object

HASH_LABEL: Final = "pod-template-hash"
REVISION: Final = "deployment.kubernetes.io/revision"
_CAUSE: Final = "kubernetes.io/change-cause"
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Revisions:
    """The present set (None while there is none) and the others, the oldest first."""

    new: ReplicaSet | None
    old: tuple[ReplicaSet, ...]

    @property
    def every(self) -> tuple[ReplicaSet, ...]:
        """All of them."""
        return (*self.old, self.new) if self.new else self.old

    @property
    def next_number(self) -> int:
        """The number the present set is to have: higher than any other."""
        return max((number_of(one) for one in self.old), default=0) + 1


def sorted_out(deployment: Deployment, sets: Sequence[ReplicaSet]) -> Revisions:
    """Which of its sets has the deployment's template; of several the oldest."""
    by_age = sorted(sets, key=lambda one: (one.metadata.creation_timestamp, one.metadata.name))
    wanted = _bare(deployment.spec.template)
    new = next((one for one in by_age if _bare(one.spec.template) == wanted), None)
    return Revisions(new, tuple(one for one in by_age if one is not new))


def number_of(found: ReplicaSet) -> int:
    """Its revision, 0 when it carries none."""
    return int(found.metadata.annotations.get(REVISION, "0"))


def template_hash(template: Object) -> str:
    """Ten letters or less that stand for the template, of those Kubernetes puts into names."""
    rest = xxhash.xxh64_intdigest(json.dumps(_bare(template), sort_keys=True).encode())
    letters = ""
    while rest and len(letters) < 10:  # noqa: PLR2004  as long as the real ones
        rest, place = divmod(rest, len(_ALPHABET))
        letters += _ALPHABET[place]
    return letters


def new_set(deployment: Deployment, number: int, replicas: int) -> Object:
    """The replica set of the deployment's template, as it is sent to the API."""
    spec, metadata = deployment.spec, deployment.metadata
    mark = {HASH_LABEL: template_hash(spec.template)}
    template = _labelled(spec.template, mark)
    kept = {name: text for name, text in metadata.annotations.items() if name == _CAUSE}
    matched = {**_words(spec.selector.get("matchLabels")), **mark}
    return {
        "metadata": {
            "name": f"{metadata.name}-{mark[HASH_LABEL]}",
            "labels": template["metadata"]["labels"],
            "annotations": {**kept, REVISION: str(number)},
            "ownerReferences": [msgspec.to_builtins(metadata.reference(DEPLOYMENTS))],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": spec.min_ready_seconds,
            "selector": {**spec.selector, "matchLabels": matched},
            "template": template,
        },
    }


def _words(value: object) -> dict[str, str]:
    return value if isinstance(value, dict) else {}


def _labelled(template: Object, mark: dict[str, str]) -> Object:
    metadata = template.get("metadata") or {}
    return {**template, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **mark}}}


def _bare(template: Object) -> Object:
    """The template without the mark a replica set adds."""
    metadata = {word: value for word, value in (template.get("metadata") or {}).items() if value}
    labels = {key: text for key, text in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}
