"""Who manages what: the objects an owner may count as its own.

What fits the selector and belongs to nobody is taken in, as kubernetes/kubernetes,
pkg/controller/controller_ref_manager.go does: the pods that `kubectl delete --cascade=orphan` leaves would
else be doubled by the next owner. What no longer fits is not counted any more; unlike there it keeps its
owner, and goes with it.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from resync.lab.kube import Kube, Object, Resource
from resync.lab.metadata import Metadata, OwnerReference, metadata_of

Owned = TypeVar("Owned", bound=msgspec.Struct)


async def claimed(
    kube: Kube,
    resource: Resource,
    kind: type[Owned],
    *,
    owner: Metadata,
    reference: OwnerReference,
    labels: str,
    fits: Callable[[Metadata], bool] = lambda _: True,
) -> list[Owned]:
    """The objects that fit the selector and are the owner's, strays that fit taken in. Raises KubeError."""
    items, _ = await kube.list(resource, owner.namespace, labels)
    mine: list[Owned] = []
    for item in items:
        metadata = metadata_of(item)
        free = metadata.controller is None and fits(metadata)
        stray = free and not (metadata.terminating or owner.terminating)
        if stray:
            await _own(kube, resource, metadata, [*metadata.owner_references, reference])
        if stray or _is_managed_by(metadata, owner):
            mine.append(msgspec.convert(item, kind))
    return mine


def _is_managed_by(item: Metadata, owner: Metadata) -> bool:
    return item.controller is not None and item.controller.uid == owner.uid


async def release(kube: Kube, resource: Resource, item: Metadata, owners: set[str]) -> None:
    """Take the owners with those uids out of the object. Raises KubeError."""
    await _own(kube, resource, item, [one for one in item.owner_references if one.uid not in owners])


async def _own(kube: Kube, resource: Resource, item: Metadata, owners: Sequence[OwnerReference]) -> None:
    body: Object = {
        "metadata": {"resourceVersion": item.resource_version, "ownerReferences": msgspec.to_builtins(owners)}
    }
    await kube.patch(resource, item.namespace or None, item.name, body)
