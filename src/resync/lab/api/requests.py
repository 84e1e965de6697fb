"""What a request asks for: query parameters, headers and bodies, parsed into the records the verbs take."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import yaml

from resync.lab.api import errors, patches, strategic
from resync.lab.api.admitting import WriteOptions
from resync.lab.api.deletion import DeleteOptions
from resync.lab.api.objects import JsonObject, section
from resync.lab.api.selectors import Predicate, matcher
from resync.lab.api.targets import Target
from resync.lab.api.watching import WatchOptions

JSON, YAML = "application/json", "application/yaml"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"

WATCH_TIMEOUT_S = 1800.0
WATCH_TIMEOUT_S_MAX = 24 * 3600.0

Query = Mapping[str, str]


def flag(query: Query, word: str) -> bool:
    """A boolean parameter as the real server reads it: present and not 0 or false."""
    return word in query and query[word] not in {"0", "false", "False"}


def matches(query: Query, target: Target) -> Predicate:
    """The predicate of a list, watch or deletecollection. Raises ApiError 400."""
    resource = target.resource
    fields = query.get("fieldSelector", "")
    return matcher(target.namespace, query.get("labelSelector", ""), fields, resource.fields)


def is_watch(query: Query) -> bool:
    """Whether a list request wants to go on as a watch."""
    return flag(query, "watch")


def watch_options(query: Query) -> WatchOptions:
    """Where the watch starts and how long it lasts. Raises ApiError 400."""
    version = _version(query)
    initial = flag(query, "sendInitialEvents")
    if initial and query.get("resourceVersionMatch") != "NotOlderThan":
        raise errors.bad_request("resourceVersionMatch: Forbidden: sendInitialEvents requires NotOlderThan")
    timeout_s = float(_whole(query, "timeoutSeconds") or WATCH_TIMEOUT_S)
    return WatchOptions(
        version=version or None,
        bookmarks=flag(query, "allowWatchBookmarks"),
        initial_events=initial,
        timeout_s=min(timeout_s, WATCH_TIMEOUT_S_MAX),
    )


def check_list_version(query: Query, newest: int) -> None:
    """A list of a version still to come is refused, an older one is answered with now.

    Raises ApiError 400, 410, 504.
    """
    version = _version(query)
    if version is None:
        return
    if version > newest:
        raise errors.in_the_future(version, newest)
    if query.get("resourceVersionMatch") == "Exact" and 0 < version < newest:
        raise errors.expired(version, newest)


def _version(query: Query) -> int | None:
    return _whole(query, "resourceVersion")


def _whole(query: Query, word: str) -> int | None:
    text = query.get(word, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise errors.bad_request(f"{word}: Invalid value: {text!r}: must be a whole number")
    return int(text)


def write_options(query: Query, headers: Mapping[str, str]) -> WriteOptions:
    """How to write. Raises ApiError 400."""
    validation = query.get("fieldValidation") or "Warn"
    if validation not in {"Strict", "Warn", "Ignore"}:
        raise errors.bad_request(f"fieldValidation: Unsupported value: {validation!r}")
    agent = headers.get("User-Agent", "unknown").partition("/")[0]
    return WriteOptions(
        dry_run=_dry_run(query),
        validation=validation,
        manager=query.get("fieldManager") or agent,
        force=flag(query, "force"),
    )


def _dry_run(query: Query) -> bool:
    word = query.get("dryRun", "")
    if word not in {"", "All"}:
        raise errors.bad_request(f"dryRun: Unsupported value: {word!r}: supported values: 'All'")
    return word == "All"


def delete_options(query: Query, body: bytes) -> DeleteOptions:
    """How to delete, from the body and the query. Raises ApiError 400."""
    sent = _json(body) if body else {}
    if not isinstance(sent, dict):
        raise errors.bad_request("the body of a deletion is a DeleteOptions object")
    grace = sent.get("gracePeriodSeconds")
    if grace is None:
        grace = _whole(query, "gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        raise errors.bad_request(f"gracePeriodSeconds: Invalid value: {grace!r}")
    preconditions = section(sent, "preconditions")
    return DeleteOptions(
        grace_s=grace,
        uid=str(preconditions.get("uid") or ""),
        version=str(preconditions.get("resourceVersion") or ""),
        propagation=str(sent.get("propagationPolicy") or query.get("propagationPolicy") or ""),
        dry_run=_dry_run(query) or sent.get("dryRun") == ["All"],
    )


# Bodies --------------------------------------------------------------------------------------------


def _media(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def decoded(headers: Mapping[str, str], body: bytes) -> JsonObject:
    """The object sent; no Content-Type counts as JSON, as the official Python client sends it.

    Raises ApiError 400, 415.
    """
    media = _media(headers)
    reader = {"": _json, "application/octet-stream": _json, JSON: _json, YAML: _yaml}.get(media)
    if reader is None:
        raise errors.unsupported_media(media, (JSON, YAML))
    return _object(reader(body))


def _object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise errors.bad_request("the body of the request is not an object")
    return value


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.bad_request(f"couldn't decode the body of the request as JSON: {error}") from error


def _yaml(body: bytes) -> Any:
    try:
        return msgspec.json.decode(msgspec.json.encode(yaml.safe_load(body)))
    except (yaml.YAMLError, msgspec.MsgspecError, TypeError, RecursionError, UnicodeDecodeError) as error:
        raise errors.bad_request(f"couldn't decode the body of the request as YAML: {error}") from error


Patcher = Callable[[JsonObject], JsonObject]


def is_apply(headers: Mapping[str, str]) -> bool:
    """Whether a PATCH is a server-side apply, which may also create."""
    return _media(headers) == APPLY


def patcher(headers: Mapping[str, str], body: bytes, target: Target) -> Patcher:
    """The patch as a function of the stored object. Raises ApiError 400, 415; the function 400, 422."""
    media = _media(headers)
    accepted = [JSON_PATCH, MERGE, *([STRATEGIC] if target.resource.strategic else []), APPLY]
    if media not in accepted:
        raise errors.unsupported_media(media, accepted)
    if media == JSON_PATCH:
        operations = _json(body)
        return lambda current: patches.apply_operations(current, operations)
    patch = _object(_yaml(body) if media == APPLY else _json(body))
    if media == STRATEGIC or (media == APPLY and target.resource.strategic):
        return lambda current: strategic.strategic_merge(current, patch, target.resource.schema)
    return lambda current: _object(patches.merge(current, patch))
