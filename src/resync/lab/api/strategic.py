"""Strategic merge patch: a merge patch that knows which lists are really maps.

Rules: kubernetes/community, contributors/devel/sig-api-machinery/strategic-merge-patch.md. Which lists merge,
and by which key, is said by the kind's schema (`x-kubernetes-patch-merge-key`, `x-kubernetes-patch-
strategy`); a list the schema does not speak of is replaced whole.
"""

from collections.abc import Mapping
from typing import Any

from resync.lab.api import errors
from resync.lab.api.objects import JsonObject

Schema = Mapping[str, Any]

_ORDER, _REMOVE, _DIRECTIVE, _RETAIN = (
    "$setElementOrder/",
    "$deleteFromPrimitiveList/",
    "$patch",
    "$retainKeys",
)

_METADATA: Schema = {
    "properties": {
        "finalizers": {"type": "array", "x-kubernetes-patch-strategy": "merge"},
        "ownerReferences": {
            "type": "array",
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "uid",
        },
    }
}


def strategic_merge(target: JsonObject, patch: JsonObject, schema: Schema) -> JsonObject:
    """The object after the patch. Raises ApiError 400 for a directive that makes no sense."""
    rooted = {**schema, "properties": {**(schema.get("properties") or {}), "metadata": _METADATA}}
    return _merge_object(target, patch, rooted)


def _merge_object(target: JsonObject, patch: JsonObject, schema: Schema) -> JsonObject:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {word: value for word, value in patch.items() if word != _DIRECTIVE}
    if directive == "delete":
        return {}
    merged = dict(target)
    if _RETAIN in patch:
        merged = {word: value for word, value in merged.items() if word in patch[_RETAIN]}
    for word, value in patch.items():
        if not word.startswith("$"):
            _merge_word(merged, word, value, _below(schema, word))
    for word, value in patch.items():
        if word.startswith((_ORDER, _REMOVE)):
            _list_directive(merged, word, value, schema)
    return merged


def _below(schema: Schema, word: str) -> Schema:
    known = (schema.get("properties") or {}).get(word)
    if known is None:
        known = schema.get("additionalProperties")
    return known if isinstance(known, dict) else {}


def _merge_word(merged: JsonObject, word: str, value: object, schema: Schema) -> None:
    if value is None:
        merged.pop(word, None)
    elif isinstance(value, dict):
        before = merged.get(word)
        merged[word] = _merge_object(before if isinstance(before, dict) else {}, value, schema)
        if value.get(_DIRECTIVE) == "delete":
            del merged[word]
    elif isinstance(value, list):
        merged[word] = _merge_list(merged.get(word) or [], value, schema)
    else:
        merged[word] = value


def _merge_list(target: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    if schema.get("x-kubernetes-patch-strategy") != "merge":
        return [part for part in patch if not _is_directive(part)]
    key = schema.get("x-kubernetes-patch-merge-key")
    if key is None:
        return target + [part for part in patch if part not in target]
    if any(isinstance(part, dict) and part.get(_DIRECTIVE) == "replace" for part in patch):
        return [part for part in patch if not _is_directive(part)]
    merged = list(target)
    for part in patch:
        _merge_entry(merged, part, str(key), schema.get("items") or {})
    return merged


def _is_directive(part: object) -> bool:
    return isinstance(part, dict) and _DIRECTIVE in part


def _merge_entry(merged: list[Any], part: object, key: str, schema: Schema) -> None:
    if not isinstance(part, dict) or key not in part:
        raise errors.bad_request(f"map: {part} does not contain declared merge key: {key}")
    found = [index for index, entry in enumerate(merged) if entry.get(key) == part[key]]
    if part.get(_DIRECTIVE) == "delete":
        for index in reversed(found):
            del merged[index]
    elif found:
        merged[found[0]] = _merge_object(merged[found[0]], part, schema)
    else:
        merged.append(_merge_object({}, part, schema))


def _list_directive(merged: JsonObject, directive: str, value: Any, schema: Schema) -> None:
    kind, _, word = directive.partition("/")
    values = merged.get(word)
    if not isinstance(values, list) or not isinstance(value, list):
        return
    if kind + "/" == _REMOVE:
        merged[word] = [part for part in values if part not in value]
        return
    key = _below(schema, word).get("x-kubernetes-patch-merge-key")
    order = [entry.get(key) if isinstance(entry, dict) else entry for entry in value]
    merged[word] = _ordered(values, order, key)


def _ordered(values: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """Entries in the order asked for; an entry the order does not name stays behind the one it followed."""
    ranks: list[tuple[int, Any]] = []
    rank = -1
    for value in values:
        identity = value.get(key) if key and isinstance(value, dict) else value
        rank = order.index(identity) if identity in order else rank
        ranks.append((rank, value))
    return [value for _, value in sorted(ranks, key=lambda entry: entry[0])]
