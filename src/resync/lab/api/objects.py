"""Kubernetes objects as this server holds them: decoded JSON.

The server stores objects of kinds it has never heard of, so here, and only here in the project, an object
stays an open dictionary: the whole process is edge. What the server itself relies on is read through the
functions of this module.

A stored object is never changed in place. A write starts from a `clone`, and the store replaces the old
object.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

JsonObject: TypeAlias = dict[str, Any]

MICRO_DIGITS = 6


def clone(obj: JsonObject) -> JsonObject:
    """A deep copy, sharing nothing with the original."""
    copy: JsonObject = msgspec.json.decode(msgspec.json.encode(obj))
    return copy


def encode(obj: object) -> bytes:
    """The object as JSON."""
    return msgspec.json.encode(obj)


def metadata(obj: JsonObject) -> JsonObject:
    """The object's metadata, put there when absent or not an object."""
    found = obj.get("metadata")
    if not isinstance(found, dict):
        found = obj["metadata"] = {}
    return found


def section(obj: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    """A sub-object for reading; empty when absent or of another type."""
    found = obj.get(word)
    return found if isinstance(found, dict) else {}


def name_of(obj: Mapping[str, Any]) -> str:
    """metadata.name, or the empty string."""
    return str(section(obj, "metadata").get("name") or "")


def namespace_of(obj: Mapping[str, Any]) -> str:
    """metadata.namespace, or the empty string for an object that is in none."""
    return str(section(obj, "metadata").get("namespace") or "")


def uid_of(obj: Mapping[str, Any]) -> str:
    """metadata.uid, or the empty string."""
    return str(section(obj, "metadata").get("uid") or "")


def finalizers(obj: Mapping[str, Any]) -> list[str]:
    """metadata.finalizers: what still has to be done before the object may go."""
    return list(section(obj, "metadata").get("finalizers") or [])


def is_terminating(obj: Mapping[str, Any]) -> bool:
    """Whether deletion was asked for and is not finished."""
    return bool(section(obj, "metadata").get("deletionTimestamp"))


def dig(obj: object, path: tuple[str, ...]) -> object:
    """The value at a path of keys, None when any part is absent."""
    for word in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(word)
    return obj


def timestamp(wall_s: float) -> str:
    """RFC 3339 in UTC, whole seconds, the form of every metav1.Time."""
    return datetime.fromtimestamp(int(wall_s), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> float:
    """Seconds since the epoch. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()
