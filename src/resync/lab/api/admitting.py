"""From what a client sent to what may be stored: prune, default, mutate, check.

The order is the real server's: decode (drop or refuse unknown fields), default, mutating admission, schema
(422), validating admission (403).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resync.lab import admission
from resync.lab.api import errors, schemas
from resync.lab.api.builtins import CHECKS
from resync.lab.api.errors import Cause
from resync.lab.api.objects import JsonObject, metadata, name_of
from resync.lab.api.resources import Resource

METADATA_FIELDS = frozenset(
    [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ]
)
NAME_LENGTH_MAX = 253
ANNOTATIONS_SIZE_MAX = 256 * 1024
CHAOS_MESH_GROUP = "chaos-mesh.org"

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_LENGTH_MAX = 63


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a write was asked for. `validation` is Strict, Warn or Ignore: what becomes of unknown fields."""

    dry_run: bool = False
    validation: str = "Warn"
    manager: str = "unknown"
    force: bool = False


def admit(
    resource: Resource, old: JsonObject | None, new: JsonObject, options: WriteOptions
) -> tuple[JsonObject, list[str]]:
    """The object to store and the warnings for the client. `new` is changed on the way. Raises ApiError."""
    warnings = _drop_unknown(resource, new, options.validation)
    schemas.fill_defaults(resource.schema, new)
    if resource.group == CHAOS_MESH_GROUP:
        new = admission.mutate(resource.kind, new)
    schemas.drop_nulls(resource.schema, new)
    causes = [*_metadata_causes(new), *schemas.validate(resource.schema, new)]
    if not causes and resource.stored_as in CHECKS:
        causes = list(CHECKS[resource.stored_as](new))
    if causes:
        raise errors.invalid(resource.subject(name_of(new)), causes)
    if resource.group == CHAOS_MESH_GROUP:
        _ask_admission(resource, old, new)
    return new, warnings


def _ask_admission(resource: Resource, old: JsonObject | None, new: JsonObject) -> None:
    try:
        admission.validate(resource.kind, old, new)
    except admission.RefusedError as refusal:
        raise errors.forbidden(str(refusal), resource.subject(name_of(new))) from refusal


def _drop_unknown(resource: Resource, new: JsonObject, validation: str) -> list[str]:
    found = metadata(new)
    unknown = [word for word in found if word not in METADATA_FIELDS]
    for word in unknown:
        del found[word]
    removed = [f"metadata.{word}" for word in unknown]
    if resource.custom:
        removed += schemas.prune(resource.schema, new)
    texts = [f'unknown field "{path}"' for path in removed]
    if texts and validation == "Strict":
        raise errors.bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"strict decoding error: {', '.join(texts)}"
        )
    return texts if validation == "Warn" else []


def _metadata_causes(obj: JsonObject) -> Iterator[Cause]:
    found = metadata(obj)
    name = found.get("name")
    if not isinstance(name, str) or len(name) > NAME_LENGTH_MAX or not _SUBDOMAIN.fullmatch(name):
        rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        yield Cause("FieldValueInvalid", "metadata.name", f'Invalid value: "{name}": {rule}')
    yield from _map_causes("labels", found.get("labels"))
    yield from _map_causes("annotations", found.get("annotations"))
    if not _is_list_of(str, found.get("finalizers")):
        yield Cause(
            "FieldValueTypeInvalid", "metadata.finalizers", "Invalid value: must be a list of strings"
        )
    yield from _owner_causes(found.get("ownerReferences"))


def _owner_causes(owners: Any) -> Iterator[Cause]:
    path = "metadata.ownerReferences"
    if not _is_list_of(dict, owners):
        yield Cause("FieldValueTypeInvalid", path, "Invalid value: must be a list of objects")
        return
    for index, owner in enumerate(owners or ()):
        for word in ("apiVersion", "kind", "name", "uid"):
            if not isinstance(owner.get(word), str) or not owner[word]:
                yield Cause(
                    "FieldValueInvalid", f"{path}[{index}].{word}", 'Invalid value: "": must not be empty'
                )


def _is_list_of(kind: type, value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(part, kind) for part in value))


def _map_causes(word: str, value: Any) -> Iterator[Cause]:
    path = f"metadata.{word}"
    if value is None:
        return
    if not isinstance(value, dict) or not all(isinstance(part, str) for part in value.values()):
        yield Cause("FieldValueTypeInvalid", path, "Invalid value: must be a map of strings to strings")
        return
    for key, text in value.items():
        if not _LABEL_KEY.fullmatch(key):
            yield Cause(
                "FieldValueInvalid", path, f'Invalid value: "{key}": name part must be a qualified name'
            )
        if word == "labels" and not (len(text) <= _LABEL_LENGTH_MAX and _LABEL_VALUE.fullmatch(text)):
            yield Cause(
                "FieldValueInvalid",
                path,
                f'Invalid value: "{text}": a valid label must be at most 63 characters',
            )
    if sum(len(key) + len(text) for key, text in value.items()) > ANNOTATIONS_SIZE_MAX:
        yield Cause("FieldValueTooLong", path, f"Too long: may not be more than {ANNOTATIONS_SIZE_MAX} bytes")
