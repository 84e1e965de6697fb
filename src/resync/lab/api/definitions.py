"""Where kinds come from: our YAML for the built-in ones, CustomResourceDefinition objects for the rest.

Creating a definition serves its kind at once; deleting it takes the kind and all its objects away.
"""

from collections.abc import Iterator, Mapping
from importlib import resources as package_files
from typing import Any

import yaml

from resync.lab.api.admitting import WriteOptions
from resync.lab.api.deletion import DeleteOptions
from resync.lab.api.objects import JsonObject, clone, is_terminating, metadata, name_of
from resync.lab.api.resources import Resource, from_definition
from resync.lab.api.store import GroupPlural
from resync.lab.api.targets import Target
from resync.lab.api.verbs import Verbs

DEFINITIONS: GroupPlural = ("apiextensions.k8s.io", "customresourcedefinitions")
FIRST_NAMESPACES = ("default", "kube-system")


def _manifests(package: str) -> Iterator[JsonObject]:
    for entry in sorted(package_files.files(package).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            yield yaml.load(entry.read_text(), Loader=_loader())  # noqa: S506 - both loaders are safe ones


def _loader() -> Any:
    """Libyaml's safe loader where PyYAML was built with it: ten times faster at start-up."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def builtin_resources() -> list[Resource]:
    """The kinds of `kinds/`."""
    definitions = list(_manifests("resync.lab.api.kinds"))
    specs = {found["spec"]["names"]["plural"]: _spec_schema(found) for found in definitions}
    return [
        resource
        for definition in definitions
        for resource in from_definition(_with_specs(definition, specs), custom=False)
    ]


def _spec_schema(definition: JsonObject) -> JsonObject | None:
    """What the kind says about its own spec, if anything."""
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: JsonObject | None = (schema.get("properties") or {}).get("spec")
    return found


def _with_specs(node: Any, specs: Mapping[str, JsonObject | None]) -> Any:
    """The definition with each `x-resync-spec-of` replaced by the spec it names."""
    if isinstance(node, dict):
        named = node.get("x-resync-spec-of")
        return specs[named] if named else {word: _with_specs(part, specs) for word, part in node.items()}
    return [_with_specs(part, specs) for part in node] if isinstance(node, list) else node


def own_definitions() -> list[JsonObject]:
    """The CustomResourceDefinitions that the lab brings along."""
    return list(_manifests("resync.lab.crds"))


def prepare(verbs: Verbs, definitions: list[JsonObject]) -> None:
    """Serve the built-in kinds, create the first namespaces and the definitions given. Raises ApiError."""
    verbs.catalogue.add(builtin_resources())
    verbs.on_put.append(lambda kind, body: _serve(verbs, kind, body))
    verbs.on_removed.append(lambda kind, _: _after_removal(verbs, kind))
    for name in FIRST_NAMESPACES:
        _create(verbs, "", "namespaces", {"metadata": {"name": name}})
    for definition in definitions:
        _create(verbs, *DEFINITIONS, clone(definition))


def _create(verbs: Verbs, group: str, plural: str, body: JsonObject) -> None:
    resource = verbs.catalogue.find(group, "v1", plural)
    assert resource is not None
    verbs.create(Target(resource), body, WriteOptions(manager="resync-lab"))


def _serve(verbs: Verbs, kind: GroupPlural, body: JsonObject) -> None:
    if kind != DEFINITIONS:
        return
    defined = _defined(body)
    if is_terminating(body):
        _empty(verbs, defined)
        _withdraw(verbs, body)
        return
    verbs.catalogue.remove(*defined)
    verbs.catalogue.add(from_definition(body))


def _defined(body: JsonObject) -> GroupPlural:
    return str(body["spec"]["group"]), str(body["spec"]["names"]["plural"])


def _empty(verbs: Verbs, defined: GroupPlural) -> None:
    resource = next((found for found in verbs.catalogue if found.group_plural == defined), None)
    if resource is not None:
        verbs.delete_collection(Target(resource), lambda _: True, DeleteOptions())


def _withdraw(verbs: Verbs, body: JsonObject) -> None:
    """Finish the deletion of a definition once no object of its kind is left."""
    key = ("", name_of(body))
    if verbs.store.shelf(_defined(body)).items or key not in verbs.store.shelf(DEFINITIONS).items:
        return
    last = clone(body)
    metadata(last)["finalizers"] = []
    verbs.catalogue.remove(*_defined(body))
    verbs.remove(DEFINITIONS, key, last)


def _after_removal(verbs: Verbs, kind: GroupPlural) -> None:
    for item in list(verbs.store.shelf(DEFINITIONS).items.values()):
        if is_terminating(item.body) and _defined(item.body) == kind:
            _withdraw(verbs, item.body)
