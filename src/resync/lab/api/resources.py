"""What the server knows about a kind, and the catalogue of all kinds it serves.

A `Resource` is read from a CustomResourceDefinition manifest; built-in kinds use the same form plus words of
ours:

- `x-resync-strategic: true`: takes strategic merge patches (every built-in does, no custom resource may);
- `x-resync-unconditional: true`: a PUT without resourceVersion is allowed, as on the real server for this
  kind;
- `x-resync-create-on-update: true`: a PUT of a name that does not exist creates it;
- `x-resync-generation: spec | none`: what a rise of metadata.generation follows;
- `x-resync-subresources: [...]`: subresources beyond status and scale;
- `x-resync-spec-of: pods`: in a schema, the place of that kind's own spec (a workload's pod template);
- `x-resync-stored-as` and `x-resync-renames`: one kind seen through two API groups (events).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from resync.lab.api.errors import Subject
from resync.lab.api.objects import JsonObject, section

METADATA_FIELDS = ("metadata.name", "metadata.namespace")


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column: `path` is a JSONPath, or `computed` names a function of `tables`."""

    name: str
    kind: str = "string"
    path: str = ""
    computed: str = ""
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind in one API version, as served."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    custom: bool
    schema: JsonObject
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    columns: tuple[Column, ...] = ()
    fields: frozenset[str] = frozenset(METADATA_FIELDS)
    strategic: bool = False
    unconditional: bool = False
    create_on_update: bool = False
    generation: str = "none"
    stored_as: tuple[str, str] = ("", "")
    renames: Mapping[str, str] = field(default_factory=dict)
    list_kind: str = ""

    @property
    def api_version(self) -> str:
        """`v1` or `chaos-mesh.org/v1alpha1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_plural(self) -> tuple[str, str]:
        """Identity of the kind on the wire, whatever the version."""
        return (self.group, self.plural)

    @property
    def has_status(self) -> bool:
        """Whether status is written through a path of its own."""
        return "status" in self.subresources

    def subject(self, name: str = "") -> Subject:
        """What an error about an object of this kind names."""
        return Subject(self.group, self.plural, self.kind, name)


@dataclass(slots=True)
class Catalogue:
    """Every kind the server serves; custom ones come and go with their definitions."""

    _by_path: dict[tuple[str, str, str], Resource] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._by_path.values()))

    def add(self, resources: Iterable[Resource]) -> None:
        """Serve these; a resource of the same group, version and plural is replaced."""
        for resource in resources:
            self._by_path[(resource.group, resource.version, resource.plural)] = resource

    def remove(self, group: str, plural: str) -> None:
        """Stop serving a kind in all its versions."""
        for path in [path for path in self._by_path if (path[0], path[2]) == (group, plural)]:
            del self._by_path[path]

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource at a path, None when it is not served."""
        return self._by_path.get((group, version, plural))

    def versions(self, group: str) -> list[str]:
        """The served versions of a group, in the order they were added."""
        return list(dict.fromkeys(version for found, version, _ in self._by_path if found == group))

    def groups(self) -> list[str]:
        """The named groups, without the core group."""
        return list(dict.fromkeys(group for group, _, _ in self._by_path if group))


def from_definition(definition: Mapping[str, Any], *, custom: bool = True) -> list[Resource]:
    """One resource per served version of a CustomResourceDefinition (or of one of our built-in kinds)."""
    spec = definition["spec"]
    return [
        _resource(spec, version, custom=custom) for version in spec["versions"] if version.get("served", True)
    ]


def _resource(spec: Mapping[str, Any], version: Mapping[str, Any], *, custom: bool) -> Resource:
    names = spec["names"]
    kind = str(names["kind"])
    plural = str(names["plural"])
    identity = (str(spec["group"]), plural)
    return Resource(
        group=identity[0],
        version=str(version["name"]),
        plural=plural,
        singular=str(names.get("singular") or kind.lower()),
        kind=kind,
        list_kind=str(names.get("listKind") or f"{kind}List"),
        namespaced=spec["scope"] == "Namespaced",
        custom=custom,
        schema=section(section(version, "schema"), "openAPIV3Schema") or {"type": "object"},  # type: ignore[arg-type]
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(
            [*(version.get("subresources") or {}), *spec.get("x-resync-subresources", ())]
        ),
        columns=_columns(version),
        fields=frozenset([*METADATA_FIELDS, *_selectable(version)]),
        strategic=bool(spec.get("x-resync-strategic")),
        unconditional=bool(spec.get("x-resync-unconditional")),
        create_on_update=bool(spec.get("x-resync-create-on-update")),
        generation="custom" if custom else str(spec.get("x-resync-generation", "none")),
        stored_as=tuple(spec.get("x-resync-stored-as", identity)),
        renames=spec.get("x-resync-renames", {}),
    )


def _columns(version: Mapping[str, Any]) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=str(column["name"]),
            kind=str(column.get("type", "string")),
            path=str(column.get("jsonPath", "")),
            computed=str(column.get("x-resync-computed", "")),
            format=str(column.get("format", "")),
            description=str(column.get("description", "")),
            priority=int(column.get("priority", 0)),
        )
        for column in version.get("additionalPrinterColumns") or ()
    )


def _selectable(version: Mapping[str, Any]) -> Iterator[str]:
    return (str(entry["jsonPath"]).lstrip(".") for entry in version.get("selectableFields") or ())
