"""What the API says about itself: versions, groups, resources, and a stub of OpenAPI.

kubectl decides by these documents which resource a word means, whether a server checks fields itself (the
`fieldValidation` parameter in OpenAPI), and how to build a patch.
"""

from collections.abc import Iterator
from urllib.parse import quote

from resync.lab.api.objects import JsonObject
from resync.lab.api.resources import Catalogue, Resource

VERSION: JsonObject = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0-resync",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go0",
    "compiler": "none",
    "platform": "linux/amd64",
}
_FIXED: dict[str, JsonObject] = {
    "": {"paths": ["/api", "/api/v1", "/apis", "/healthz", "/openapi/v2", "/openapi/v3", "/version"]},
    "version": VERSION,
}
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SUBRESOURCE_VERBS = {
    "status": ("get", "patch", "update"),
    "scale": ("get", "patch", "update"),
    "log": ("get",),
}
_FOREIGN_KINDS = {"scale": {"group": "autoscaling", "version": "v1", "kind": "Scale"}}
"""Subresources that speak another kind than their object's."""


def answer(path: str, catalogue: Catalogue) -> JsonObject | None:
    """The document at a path that is about the API itself; None when there is none."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["openapi", *rest]:
            return _openapi(rest, catalogue)
        case ["apis" | "api", *_]:
            return _about_groups(parts, catalogue)
    return _FIXED.get("/".join(parts))


def _about_groups(parts: list[str], catalogue: Catalogue) -> JsonObject | None:
    match parts:
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = [_group(group, catalogue) for group in catalogue.groups()]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["apis", group] if group in catalogue.groups():
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, catalogue)}
        case ["api", "v1"]:
            return _resources("", "v1", catalogue)
        case ["apis", group, version] if version in catalogue.versions(group):
            return _resources(group, version, catalogue)
    return None


def _group(group: str, catalogue: Catalogue) -> JsonObject:
    versions = [
        {"groupVersion": f"{group}/{version}", "version": version} for version in catalogue.versions(group)
    ]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _resources(group: str, version: str, catalogue: Catalogue) -> JsonObject:
    served = [resource for resource in catalogue if (resource.group, resource.version) == (group, version)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [entry for resource in served for entry in _entries(resource)],
    }


def _entries(resource: Resource) -> Iterator[JsonObject]:
    entry: JsonObject = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(_VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    yield entry
    for word in sorted(resource.subresources):
        yield {
            "name": f"{resource.plural}/{word}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(_SUBRESOURCE_VERBS.get(word, ("create", "update"))),
            **_FOREIGN_KINDS.get(word, {}),
        }


def _openapi(rest: list[str], catalogue: Catalogue) -> JsonObject | None:
    info = {"title": "resync lab", "version": "v1.34.0"}
    match rest:
        case ["v2"]:
            return {"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}
        case ["v3"]:
            roots = list(dict.fromkeys(_root(resource) for resource in catalogue))
            return {"paths": {root: {"serverRelativeURL": f"/openapi/v3/{quote(root)}"} for root in roots}}
        case ["v3", *root]:
            served = [resource for resource in catalogue if _root(resource) == "/".join(root)]
            paths = {path: entry for resource in served for path, entry in _paths(resource)}
            return {"openapi": "3.0.0", "info": info, "paths": paths} if served else None
        case _:
            return None


def _root(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.api_version}"


def _paths(resource: Resource) -> Iterator[tuple[str, JsonObject]]:
    middle = "/namespaces/{namespace}" if resource.namespaced else ""
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")
    ]
    operation = {"parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": kind}
    path = f"/{_root(resource)}{middle}/{resource.plural}"
    yield path, {"post": operation}
    yield path + "/{name}", {"put": operation, "patch": operation}
