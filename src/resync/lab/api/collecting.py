"""What goes when something else has gone: dependents of a deleted owner, contents of a deleted namespace.

On a cluster two controllers of kube-controller-manager do this a moment later; here it happens in the same
step, with the same end (Kubernetes documentation, "Garbage collection: owners and dependents", "Namespaces").
"""

from collections.abc import Iterator

from resync.lab.api.deletion import DeleteOptions
from resync.lab.api.objects import (
    JsonObject,
    clone,
    is_terminating,
    metadata,
    name_of,
    namespace_of,
    section,
    uid_of,
)
from resync.lab.api.store import GroupPlural, Item
from resync.lab.api.targets import Target
from resync.lab.api.verbs import NAMESPACES, Verbs


def prepare(verbs: Verbs) -> None:
    """Collect from now on."""
    verbs.on_put.append(lambda kind, body: _on_put(verbs, kind, body))
    verbs.on_removed.append(lambda _, body: _on_removed(verbs, body))


def release(verbs: Verbs, owner: JsonObject) -> None:
    """Let the dependents live on without this owner (propagationPolicy Orphan)."""
    for target, item in list(_dependents(verbs, uid_of(owner))):
        _disown(verbs, target, item, uid_of(owner))


def _on_put(verbs: Verbs, kind: GroupPlural, body: JsonObject) -> None:
    if kind == NAMESPACES and is_terminating(body):
        for target, _ in list(_contents(verbs, name_of(body))):
            if target.key in verbs.store.shelf(target.resource.stored_as).items:
                verbs.delete(target, DeleteOptions())
        _finish_namespace(verbs, name_of(body))


def _on_removed(verbs: Verbs, body: JsonObject) -> None:
    for target, item in list(_dependents(verbs, uid_of(body))):
        owners = [reference.get("uid") for reference in section(item.body, "metadata")["ownerReferences"]]
        if any(verbs.by_uid(str(uid)) for uid in owners):
            _disown(verbs, target, item, uid_of(body))
        elif (
            not is_terminating(item.body) and target.key in verbs.store.shelf(target.resource.stored_as).items
        ):
            verbs.delete(target, DeleteOptions())
    if namespace_of(body):
        _finish_namespace(verbs, namespace_of(body))


def _finish_namespace(verbs: Verbs, name: str) -> None:
    """Remove a terminating namespace once nothing is left in it."""
    item = verbs.store.shelf(NAMESPACES).items.get(("", name))
    if item is not None and is_terminating(item.body) and next(_contents(verbs, name), None) is None:
        last = clone(item.body)
        last["spec"] = {}
        verbs.remove(NAMESPACES, ("", name), last)


def _contents(verbs: Verbs, namespace: str) -> Iterator[tuple[Target, Item]]:
    return (found for found in _all(verbs) if found[0].namespace == namespace)


def _dependents(verbs: Verbs, uid: str) -> Iterator[tuple[Target, Item]]:
    for target, item in _all(verbs):
        owners = section(item.body, "metadata").get("ownerReferences") or ()
        if any(reference.get("uid") == uid for reference in owners):
            yield target, item


def _all(verbs: Verbs) -> Iterator[tuple[Target, Item]]:
    """Every object, each once, whatever group it is seen through."""
    for resource in verbs.catalogue:
        if resource.stored_as == resource.group_plural:
            for (namespace, name), item in verbs.store.shelf(resource.stored_as).items.items():
                yield Target(resource, namespace, name), item


def _disown(verbs: Verbs, target: Target, item: Item, uid: str) -> None:
    body = clone(item.body)
    references = metadata(body)["ownerReferences"]
    metadata(body)["ownerReferences"] = [one for one in references if one.get("uid") != uid]
    verbs.commit(target, body, dry_run=False)
