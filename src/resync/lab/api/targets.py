"""Which object or collection a URL names (Kubernetes documentation, "API concepts: resource URIs")."""

from dataclasses import dataclass

from resync.lab.api import errors
from resync.lab.api.errors import Subject
from resync.lab.api.resources import Catalogue, Resource
from resync.lab.api.store import Key

_NAMESPACES = "namespaces"
_IN_NAMESPACE_MIN = 3


@dataclass(frozen=True, slots=True)
class Target:
    """A collection (no name), an object, or a subresource of one.

    An empty namespace: cluster-wide, or all.
    """

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        """Where the store keeps the object."""
        return (self.namespace, self.name)

    @property
    def subject(self) -> Subject:
        """What an error about this target names."""
        return self.resource.subject(self.name)


def parse_path(path: str, catalogue: Catalogue) -> Target | None:
    """The target of a path; None for a path that is about the API itself. Raises ApiError 404."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest] if rest:
            return _in_group("", version, rest, catalogue)
        case ["apis", group, version, *rest] if rest:
            return _in_group(group, version, rest, catalogue)
        case _:
            return None


def _in_group(group: str, version: str, rest: list[str], catalogue: Catalogue) -> Target:
    namespace = ""
    if (
        rest[0] == _NAMESPACES
        and len(rest) >= _IN_NAMESPACE_MIN
        and not _is_namespace_part(rest[2], catalogue)
    ):
        namespace, rest = rest[1], rest[2:]
    plural, name, *subresource = [*rest, ""] if len(rest) == 1 else rest
    resource = catalogue.find(group, version, plural)
    if resource is None or (namespace and not resource.namespaced) or len(subresource) > 1:
        raise errors.no_such_path()
    if name and resource.namespaced and not namespace:
        raise errors.no_such_path()
    return _checked(Target(resource, namespace, name, subresource[0] if subresource else ""))


def _is_namespace_part(word: str, catalogue: Catalogue) -> bool:
    namespaces = catalogue.find("", "v1", _NAMESPACES)
    return namespaces is not None and word in namespaces.subresources


def _checked(target: Target) -> Target:
    if target.subresource and target.subresource not in target.resource.subresources:
        raise errors.no_such_path()
    return target
