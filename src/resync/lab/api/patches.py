"""Patches: what is stored, plus what was sent, gives what should be stored.

JSON merge patch (RFC 7386) and JSON patch (RFC 6902 with RFC 6901 pointers). All functions return a new
object.
"""

from collections.abc import Callable, Mapping
from typing import Any

from resync.lab.api import errors
from resync.lab.api.objects import JsonObject, clone

OPERATIONS_MAX = 10_000
"""The real server's limit on the operations of one JSON patch."""


def merge(target: object, patch: object) -> Any:
    """RFC 7386: objects merge, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for word, value in patch.items():
        if value is None:
            merged.pop(word, None)
        else:
            merged[word] = merge(merged.get(word), value)
    return merged


def apply_operations(target: JsonObject, operations: object) -> JsonObject:
    """RFC 6902, all or nothing.

    Raises ApiError 400 for a malformed patch, 422 when it does not fit the object.
    """
    if not isinstance(operations, list) or not all(isinstance(entry, dict) for entry in operations):
        raise errors.bad_request("error decoding patch: a JSON patch is a list of operations")
    if len(operations) > OPERATIONS_MAX:
        raise errors.ApiError(
            413,
            "RequestEntityTooLarge",
            f"the allowed maximum operations in a JSON patch is {OPERATIONS_MAX}",
        )
    holder = {"": clone(target)}
    for operation in operations:
        _apply(holder, operation)
    return _as_object(holder[""])


def _as_object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise errors.unprocessable("the patch replaces the object by something that is not one")
    return value


def _apply(holder: JsonObject, operation: Mapping[str, Any]) -> None:
    word = operation.get("op")
    handler = _OPERATIONS.get(str(word))
    if handler is None:
        raise errors.bad_request(f"Unexpected kind: {word}")
    path = operation.get("path")
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise errors.bad_request(f"error decoding patch: {path!r} is not a JSON pointer")
    handler(holder, path, operation)


def _pointer(path: str) -> list[str]:
    return [word.replace("~1", "/").replace("~0", "~") for word in path.split("/")]


def _descend(holder: object, path: str) -> tuple[Any, str]:
    """The container of the last word of a pointer, and that word."""
    *words, last = _pointer(path)
    here: Any = holder
    for word in words:
        here = _step(here, word, path)
    return here, last


def _step(here: object, word: str, path: str) -> object:
    if isinstance(here, dict) and word in here:
        return here[word]
    if isinstance(here, list):
        return here[_index(here, word, path, end=len(here) - 1)]
    raise _missing(path)


def _index(values: list[Any], word: str, path: str, *, end: int) -> int:
    if word == "-" and end == len(values):
        return end
    if not word.isascii() or not word.isdigit() or int(word) > end:
        raise _missing(path)
    return int(word)


def _missing(path: str) -> errors.ApiError:
    return errors.unprocessable(
        f"the server rejected our request due to an error in our request: the path {path!r} does not exist"
    )


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise errors.bad_request(f"error decoding patch: {operation.get('op')} needs a value")
    return operation["value"]


def _add(holder: JsonObject, path: str, operation: Mapping[str, Any]) -> None:
    _insert(holder, path, _value(operation))


def _insert(holder: JsonObject, path: str, value: object) -> None:
    here, last = _descend(holder, path)
    if isinstance(here, list):
        here.insert(_index(here, last, path, end=len(here)), value)
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise _missing(path)


def _take(holder: JsonObject, path: str) -> Any:
    here, last = _descend(holder, path)
    value = _step(here, last, path)
    if isinstance(here, list):
        here.pop(int(last))
    else:
        del here[last]
    return value


def _remove(holder: JsonObject, path: str, _: Mapping[str, Any]) -> None:
    _take(holder, path)


def _replace(holder: JsonObject, path: str, operation: Mapping[str, Any]) -> None:
    here, last = _descend(holder, path)
    _step(here, last, path)
    here[int(last) if isinstance(here, list) else last] = _value(operation)


def _read(holder: JsonObject, path: str) -> Any:
    here, last = _descend(holder, path)
    return _step(here, last, path)


def _move(holder: JsonObject, path: str, operation: Mapping[str, Any]) -> None:
    source = str(operation.get("from", ""))
    if path.startswith(source + "/"):
        raise errors.unprocessable(f"cannot move {source!r} into itself")
    _insert(holder, path, _take(holder, source))


def _copy(holder: JsonObject, path: str, operation: Mapping[str, Any]) -> None:
    value = _read(holder, str(operation.get("from", "")))
    _insert(holder, path, clone({"value": value})["value"])


def _test(holder: JsonObject, path: str, operation: Mapping[str, Any]) -> None:
    if _read(holder, path) != _value(operation):
        raise errors.unprocessable(
            f"the server rejected our request due to an error in our request: testing value {path} failed"
        )


_OPERATIONS: dict[str, Callable[[JsonObject, str, Mapping[str, Any]], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
