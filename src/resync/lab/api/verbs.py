"""What each verb means, without HTTP: create, get, list, update, patch, delete, watch.

Everything here is synchronous. A verb checks, then commits to the store in one go; nothing can come in
between.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from resync.kits.clocks import Clock
from resync.lab.api import deletion, errors, updating
from resync.lab.api.admitting import WriteOptions, admit
from resync.lab.api.builtins import ON_CREATE
from resync.lab.api.deletion import DeleteOptions
from resync.lab.api.objects import (
    JsonObject,
    clone,
    encode,
    is_terminating,
    metadata,
    name_of,
    section,
    timestamp,
)
from resync.lab.api.resources import Catalogue, Resource
from resync.lab.api.selectors import Predicate
from resync.lab.api.store import GroupPlural, Item, Key, Store
from resync.lab.api.targets import Target

PODS: GroupPlural = ("", "pods")
NAMESPACES: GroupPlural = ("", "namespaces")
_SUFFIX_LENGTH = 5
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"

Patcher = Callable[[JsonObject], JsonObject]
AfterWrite = Callable[[GroupPlural, JsonObject], None]


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write: the object as stored (or as it would be, for a dry run)."""

    item: Item
    created: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Verbs:
    """The API's verbs over one store. `on_put` and `on_removed` are called after each commit, in order."""

    store: Store
    catalogue: Catalogue
    clock: Clock
    dice: Random
    on_put: list[AfterWrite] = field(default_factory=list)
    on_removed: list[AfterWrite] = field(default_factory=list)

    # Reading

    def get(self, target: Target) -> Item:
        """The object. Raises ApiError 404."""
        found = self.store.shelf(target.resource.stored_as).items.get(target.key)
        if found is None:
            raise errors.not_found(target.subject)
        return found

    def select(self, resource: Resource, matches: Predicate) -> list[Item]:
        """Every object of the kind that matches, by namespace and name."""
        items = self.store.shelf(resource.stored_as).items
        return [items[key] for key in sorted(items) if matches(items[key].body)]

    # Creating

    def create(self, target: Target, sent: JsonObject, options: WriteOptions) -> Written:
        """A new object. Raises ApiError 400, 403, 404 (no such namespace), 409, 422."""
        new = updating.incoming(target, sent)
        found = metadata(new)
        if found.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not found.get("name") and found.get("generateName"):
            found["name"] = str(found["generateName"]) + self._suffix()
        target = Target(target.resource, target.namespace, name_of(new))
        self._require_namespace(target)
        self._stamp_new(target.resource, new)
        new, warnings = admit(target.resource, None, new, options)
        if target.key in self.store.shelf(target.resource.stored_as).items:
            raise errors.already_exists(target.subject)
        item = self.commit(target, new, dry_run=options.dry_run)
        return Written(item, created=True, warnings=tuple(warnings))

    def _suffix(self) -> str:
        return "".join(self.dice.choice(_SUFFIX_LETTERS) for _ in range(_SUFFIX_LENGTH))

    def _require_namespace(self, target: Target) -> None:
        if not target.resource.namespaced:
            return
        namespace = self.store.shelf(NAMESPACES).items.get(("", target.namespace))
        if namespace is None:
            resource = self.catalogue.find("", "v1", "namespaces")
            assert resource is not None
            raise errors.not_found(resource.subject(target.namespace))
        if is_terminating(namespace.body):
            why = (
                f"unable to create new content in namespace {target.namespace} because it is being terminated"
            )
            text = f'{target.subject.label} "{target.name}" is forbidden: {why}'
            cause = errors.Cause("NamespaceTerminating", "metadata.namespace", why)
            raise errors.ApiError(403, "Forbidden", text, target.subject, (cause,))

    def _stamp_new(self, resource: Resource, new: JsonObject) -> None:
        found = metadata(new)
        for word in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"):
            found.pop(word, None)
        found["uid"] = str(uuid.UUID(int=self.dice.getrandbits(128), version=4))
        found["creationTimestamp"] = timestamp(self.clock.wall_s())
        if resource.generation != "none":
            found["generation"] = 1
        if resource.custom and resource.has_status:
            new.pop("status", None)
        prepare = ON_CREATE.get(resource.stored_as)
        if prepare:
            prepare(new, self.dice)

    # Changing

    def update(self, target: Target, sent: JsonObject, options: WriteOptions) -> Written:
        """The object replaced by what was sent. Raises ApiError 400, 404, 409, 422."""
        new = updating.incoming(target, sent)
        current = self.store.shelf(target.resource.stored_as).items.get(target.key)
        if current is None and target.resource.create_on_update and not target.subresource:
            metadata(new).pop("resourceVersion", None)
            return self.create(target, new, options)
        if not metadata(new).get("resourceVersion") and not target.resource.unconditional:
            cause = errors.Cause(
                "FieldValueInvalid",
                "metadata.resourceVersion",
                "Invalid value: 0x0: must be specified for an update",
            )
            self.get(target)
            raise errors.invalid(target.subject, [cause])
        return self._replace(target, new, options)

    def patch(self, target: Target, patch: Patcher, options: WriteOptions) -> Written:
        """The object after `patch`, a function of the stored object. Raises ApiError as `update` does."""
        current = clone(self.get(target).body)
        return self._replace(target, updating.incoming(target, patch(current)), options)

    def apply(self, target: Target, patch: Patcher, options: WriteOptions) -> Written:
        """As `patch`, and creates what is not there: server-side apply without field ownership."""
        if target.key in self.store.shelf(target.resource.stored_as).items or target.subresource:
            return self.patch(target, patch, options)
        return self.create(target, patch({"metadata": {"name": target.name}}), options)

    def _replace(self, target: Target, sent: JsonObject, options: WriteOptions) -> Written:
        current = self.get(target)
        updating.check_preconditions(target, current.body, sent)
        new = updating.combined(target, current.body, sent)
        new, warnings = admit(target.resource, current.body, new, options)
        updating.check_rules(target, current.body, new)
        updating.raise_generation(target.resource, current.body, new)
        if deletion.is_over(new) and not options.dry_run:
            return Written(self.remove(target.resource.stored_as, target.key, new), warnings=tuple(warnings))
        if new == current.body:
            return Written(current, warnings=tuple(warnings))
        return Written(self.commit(target, new, dry_run=options.dry_run), warnings=tuple(warnings))

    # Deleting

    def delete(self, target: Target, options: DeleteOptions) -> tuple[Item, bool]:
        """The object's last state and whether it is gone already. Raises ApiError 404, 409."""
        current = self.get(target)
        updating.check_deletion(target, current.body, options)
        last = clone(current.body)
        is_pod = target.resource.stored_as == PODS
        grace_s = deletion.grace_of(last, options.grace_s, is_pod=is_pod)
        changed = deletion.mark(last, grace_s, self.clock.wall_s(), options.propagation)
        if target.resource.stored_as == NAMESPACES:
            last["status"] = {**section(last, "status"), "phase": "Terminating"}
        if options.dry_run:
            return Item(last, encode(last), current.version), False
        if deletion.is_over(last):
            return self.remove(target.resource.stored_as, target.key, last), True
        return (self.commit(target, last, dry_run=False) if changed else current), False

    def delete_collection(self, target: Target, matches: Predicate, options: DeleteOptions) -> list[Item]:
        """Every matching object deleted as by `delete`; the ones that were there."""
        deleted = []
        for item in self.select(target.resource, matches):
            found = metadata(item.body)
            one = Target(target.resource, str(found.get("namespace") or ""), str(found["name"]))
            deleted.append(self.delete(one, options)[0])
        return deleted

    # Committing

    def commit(self, target: Target, body: JsonObject, *, dry_run: bool) -> Item:
        """Store a body that has been checked already; a dry run only shows it."""
        if dry_run:
            return Item(body, encode(body), 0)
        item = self.store.put(target.resource.stored_as, target.key, body)
        for follow_up in self.on_put:
            follow_up(target.resource.stored_as, item.body)
        return item

    def remove(self, kind: GroupPlural, key: Key, last: JsonObject) -> Item:
        """Take an object away for good; `last` is what the watchers see go."""
        item = self.store.remove(kind, key, last)
        for follow_up in self.on_removed:
            follow_up(kind, item.body)
        return item
