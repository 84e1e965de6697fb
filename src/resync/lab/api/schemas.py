"""Structural schemas: drop unknown fields, fill defaults, check values.

The subset of OpenAPI v3 that CustomResourceDefinitions may use, applied in the real server's order: prune,
default, drop nulls nobody asked for, validate (Kubernetes documentation, "CustomResourceDefinition:
specifying a structural schema"; kubernetes/apiextensions-apiserver, pkg/apiserver/schema). CEL rules
(`x-kubernetes-validations`) are not run.

Pruning and defaulting change the object handed in; validation only reads.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeGuard

from resync.lab.api.errors import Cause
from resync.lab.api.objects import JsonObject, clone

Schema = Mapping[str, Any]

ROOT_FIELDS = frozenset({"apiVersion", "kind", "metadata"})
"""Fields of every object that are the server's business, not the schema's."""

_INT_RANGES = {"int32": 2**31, "int64": 2**63}


# Which schema governs a part of the value ----------------------------------------------------------


def _parts(schema: Schema, value: object) -> Iterator[tuple[str | int, Any, Schema | None]]:
    """Every key or index of a value, what is there, and its schema (None: unknown to the schema)."""
    if isinstance(value, dict):
        for word, part in list(value.items()):
            yield word, part, _known(schema, word)
    elif isinstance(value, list):
        items = schema.get("items")
        for index, part in enumerate(value):
            yield index, part, items if isinstance(items, dict) else {}


def _known(schema: Schema, word: str) -> Schema | None:
    """The schema of a key, None when there is none."""
    rest = schema.get("additionalProperties")
    known: Schema | None = (schema.get("properties") or {}).get(word, rest)
    return known if isinstance(known, dict) else None


def _keeps_unknown(schema: Schema) -> bool:
    return bool(
        schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties") is True
    )


def prune(schema: Schema, obj: JsonObject) -> list[str]:
    """Remove what the schema does not know; returns the paths removed. The root's own fields stay."""
    return [path for word in list(obj) if word not in ROOT_FIELDS for path in _prune_word(schema, obj, word)]


def _prune_word(schema: Schema, holder: JsonObject, word: str) -> list[str]:
    known = _known(schema, word)
    if known is not None:
        return [_join(word, path) for path in _prune_below(known, holder[word])]
    if _keeps_unknown(schema):
        return []
    del holder[word]
    return [word]


def _prune_below(schema: Schema, value: object) -> list[str]:
    if isinstance(value, dict):
        return [path for word in list(value) for path in _prune_word(schema, value, word)]
    return [
        _join(f"[{index}]", path)
        for index, part, known in _parts(schema, value)
        if known is not None
        for path in _prune_below(known, part)
    ]


def _join(path: str, word: str | int) -> str:
    if isinstance(word, int):
        return f"{path}[{word}]"
    if word.startswith("["):
        return path + word
    return f"{path}.{word}" if path else word


def fill_defaults(schema: Schema, value: object) -> None:
    """Put in every default whose place exists; a null where null is not allowed counts as absent."""
    if isinstance(value, dict):
        for word, known in (schema.get("properties") or {}).items():
            if "default" in known and (word not in value or _stray_null(value[word], known)):
                value[word] = clone({"value": known["default"]})["value"]
    for _, part, known_part in _parts(schema, value):
        if known_part is not None:
            fill_defaults(known_part, part)


def drop_nulls(schema: Schema, value: object) -> None:
    """Remove nulls of fields that are not nullable, as the real server does before it validates."""
    for word, part, known in _parts(schema, value):
        if isinstance(value, dict) and known is not None and _stray_null(part, known):
            del value[str(word)]
        elif known is not None:
            drop_nulls(known, part)


def _stray_null(value: object, schema: Schema) -> bool:
    return value is None and not schema.get("nullable")


# Validation ----------------------------------------------------------------------------------------


def validate(schema: Schema, obj: JsonObject) -> list[Cause]:
    """Everything wrong with the object, empty when nothing is. The root's own fields are not looked at."""
    body = {word: part for word, part in obj.items() if word not in ROOT_FIELDS}
    needed = [word for word in schema.get("required") or () if word not in ROOT_FIELDS]
    return list(_check({**schema, "required": needed}, body, ""))


def _check(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    wrong_type = _type_cause(schema, value, path)
    if wrong_type:
        yield wrong_type
        return
    for word, check in _CHECKS.items():
        if word in schema:
            yield from check(schema, value, path)
    for part_word, part, known in _parts(schema, value):
        if known is not None:
            yield from _check(known, part, _join(path, part_word))


def _is_integer(value: object) -> bool:
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    )


def _is_number(value: object) -> TypeGuard[float]:
    return not isinstance(value, bool) and isinstance(value, int | float)


_TYPES: dict[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": _is_number,
}


def type_word(value: object) -> str:
    """The JSON type of a value, as error messages name it."""
    if value is None:
        return "null"
    return next(word for word, holds in _TYPES.items() if holds(value))


def _type_cause(schema: Schema, value: object, path: str) -> Cause | None:
    if schema.get("x-kubernetes-int-or-string"):
        ok, wanted = _is_integer(value) or isinstance(value, str), "integer or string"
    else:
        wanted = str(schema.get("type", ""))
        ok = not wanted or _TYPES[wanted](value)
    if ok:
        return None
    found = type_word(value)
    text = f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
    return Cause("FieldValueTypeInvalid", path, text)


def _wrong(path: str, value: object, rule: str) -> Cause:
    shown = f'"{value}"' if isinstance(value, str) else type_word(value) if _is_tree(value) else str(value)
    return Cause("FieldValueInvalid", path, f"Invalid value: {shown}: {path} in body {rule}")


def _is_tree(value: object) -> bool:
    return isinstance(value, dict | list)


def _required(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    if isinstance(value, dict):
        for word in schema["required"]:
            if word not in value:
                yield Cause("FieldValueRequired", _join(path, word), "Required value")


def _enum(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    allowed = schema["enum"]
    if value not in allowed:
        shown = ", ".join(f'"{word}"' for word in allowed)
        text = f'Unsupported value: "{value}": supported values: {shown}'
        yield Cause("FieldValueNotSupported", path, text)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)


def _pattern(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    if isinstance(value, str) and not _compiled(schema["pattern"]).search(value):
        yield _wrong(path, value, f"should match '{schema['pattern']}'")


def _format(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    word = schema["format"]
    limit = _INT_RANGES.get(word)
    if limit and _is_number(value) and not -limit <= value < limit:
        yield _wrong(path, value, f"must be of type integer with format {word}")
    if word == "date-time" and isinstance(value, str) and not _is_date_time(value):
        yield _wrong(path, value, f'must be of type date-time: "{value}"')


def _is_date_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None and "T" in text.upper()
    except ValueError:
        return False


def _minimum(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    least = schema["minimum"]
    strict = schema.get("exclusiveMinimum")
    if _is_number(value) and (value <= least if strict else value < least):
        yield _wrong(path, value, f"should be greater than {'' if strict else 'or equal to '}{least}")


def _maximum(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    most = schema["maximum"]
    strict = schema.get("exclusiveMaximum")
    if _is_number(value) and (value >= most if strict else value > most):
        yield _wrong(path, value, f"should be less than {'' if strict else 'or equal to '}{most}")


def _multiple(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    step = schema["multipleOf"]
    if _is_number(value) and value % step:
        yield _wrong(path, value, f"should be a multiple of {step}")


def _size(
    word: str, kind: type, *, at_least: bool, noun: str
) -> Callable[[Schema, object, str], Iterator[Cause]]:
    def check(schema: Schema, value: object, path: str) -> Iterator[Cause]:
        limit = schema[word]
        if isinstance(value, kind) and (len(value) < limit if at_least else len(value) > limit):  # type: ignore[arg-type]
            yield _wrong(path, value, f"should have at {'least' if at_least else 'most'} {limit} {noun}")

    return check


def _list_type(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    kind = schema["x-kubernetes-list-type"]
    if not isinstance(value, list) or kind == "atomic":
        return
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    seen: list[object] = []
    for index, part in enumerate(value):
        identity = {key: part.get(key) for key in keys} if kind == "map" and isinstance(part, dict) else part
        if identity in seen:
            yield Cause("FieldValueDuplicate", f"{path}[{index}]", f"Duplicate value: {identity}")
        seen.append(identity)


def _unique(_: Schema, value: object, path: str) -> Iterator[Cause]:
    if isinstance(value, list) and any(part in value[:index] for index, part in enumerate(value)):
        yield _wrong(path, value, "shouldn't contain duplicates")


def _all_of(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    for part in schema["allOf"]:
        yield from _check(part, value, path)


def _fits(schema: Schema, value: object) -> bool:
    return next(_check(schema, value, ""), None) is None


def _any_of(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    if not any(_fits(part, value) for part in schema["anyOf"]):
        yield _wrong(path, value, "must validate at least one schema (anyOf)")


def _one_of(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    if sum(_fits(part, value) for part in schema["oneOf"]) != 1:
        yield _wrong(path, value, "must validate one and only one schema (oneOf)")


def _not(schema: Schema, value: object, path: str) -> Iterator[Cause]:
    if _fits(schema["not"], value):
        yield _wrong(path, value, "must not validate the schema (not)")


_CHECKS: dict[str, Callable[[Schema, object, str], Iterator[Cause]]] = {
    "required": _required,
    "enum": _enum,
    "pattern": _pattern,
    "format": _format,
    "minimum": _minimum,
    "maximum": _maximum,
    "multipleOf": _multiple,
    "minLength": _size("minLength", str, at_least=True, noun="chars"),
    "maxLength": _size("maxLength", str, at_least=False, noun="chars"),
    "minItems": _size("minItems", list, at_least=True, noun="items"),
    "maxItems": _size("maxItems", list, at_least=False, noun="items"),
    "minProperties": _size("minProperties", dict, at_least=True, noun="properties"),
    "maxProperties": _size("maxProperties", dict, at_least=False, noun="properties"),
    "uniqueItems": _unique,
    "x-kubernetes-list-type": _list_type,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
}
