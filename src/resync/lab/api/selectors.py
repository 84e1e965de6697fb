"""Label and field selectors: text to predicate.

Grammar of labels: kubernetes/apimachinery, pkg/labels/selector.go. Field selectors know only equality, and
only fields that the kind offers; an unknown one is an error and never "matches everything": a fault would hit
the wrong pods.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from resync.lab.api import errors
from resync.lab.api.objects import JsonObject, dig, section

Predicate = Callable[[JsonObject], bool]

_KEY = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*")
_EQUAL = re.compile(rf"\s*({_KEY})\s*(==|=|!=)\s*({_VALUE})\s*")
_NUMBER = re.compile(rf"\s*({_KEY})\s*([<>])\s*(-?\d+)\s*")
_EXISTS = re.compile(rf"\s*(!?)\s*({_KEY})\s*")
_FIELD = re.compile(r"\s*([^=!,]+?)\s*(==|=|!=)\s*((?:\\.|[^,])*)\s*")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector; all terms of a selector must hold."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: JsonObject) -> bool:
        """Whether an object with these labels satisfies the term."""
        return _HOLDS[self.operator](labels.get(self.key), self.values)


def _compare(value: str | None, limit: str, *, above: bool) -> bool:
    if value is None or not re.fullmatch(r"-?\d+", value):
        return False
    return int(value) > int(limit) if above else int(value) < int(limit)


_HOLDS: dict[str, Callable[[str | None, tuple[str, ...]], bool]] = {
    "in": lambda value, values: value in values,
    "notin": lambda value, values: value not in values,
    "exists": lambda value, _: value is not None,
    "absent": lambda value, _: value is None,
    ">": lambda value, values: _compare(value, values[0], above=True),
    "<": lambda value, values: _compare(value, values[0], above=False),
}


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The terms of a label selector, none for an empty one. Raises ApiError 400."""
    terms: list[Requirement] = []
    at = 0
    while at < len(text):
        term, at = _next_label(text, at)
        terms.append(term)
        if at < len(text):
            if text[at] != "," or at + 1 == len(text):
                raise _unparsable(text)
            at += 1
    return tuple(terms)


def _next_label(text: str, at: int) -> tuple[Requirement, int]:
    if found := _SET.match(text, at):
        values = tuple(value.strip() for value in found[3].split(","))
        return Requirement(found[1], found[2], values), found.end()
    if found := _EQUAL.match(text, at):
        return Requirement(found[1], "notin" if found[2] == "!=" else "in", (found[3],)), found.end()
    if found := _NUMBER.match(text, at):
        return Requirement(found[1], found[2], (found[3],)), found.end()
    if found := _EXISTS.match(text, at):
        return Requirement(found[2], "absent" if found[1] else "exists"), found.end()
    raise _unparsable(text)


def _unparsable(text: str) -> errors.ApiError:
    return errors.bad_request(f"unable to parse requirement: {text!r} is not a label selector")


def label_predicate(text: str) -> Predicate:
    """Whether an object's labels satisfy the selector. Raises ApiError 400."""
    terms = parse_labels(text)
    return lambda obj: all(term.holds(dict(section(section(obj, "metadata"), "labels"))) for term in terms)


def field_predicate(text: str, allowed: frozenset[str]) -> Predicate:
    """Whether an object's fields satisfy the selector; an absent field equals the empty string.

    Raises ApiError 400.
    """
    terms = [_field(part, allowed) for part in _split_fields(text)]
    return lambda obj: all((_text(dig(obj, path)) == value) is wanted for path, value, wanted in terms)


def _split_fields(text: str) -> list[str]:
    return [part for part in re.split(r"(?<!\\),", text) if part.strip()]


def _field(part: str, allowed: frozenset[str]) -> tuple[tuple[str, ...], str, bool]:
    found = _FIELD.fullmatch(part)
    if found is None:
        raise errors.bad_request(f"invalid selector: {part!r}; can't understand {part!r}")
    if found[1] not in allowed:
        raise errors.bad_request(f"field label not supported: {found[1]}")
    value = re.sub(r"\\(.)", r"\1", found[3].strip())
    return tuple(found[1].split(".")), value, found[2] != "!="


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def matcher(namespace: str, labels: str, fields: str, allowed: frozenset[str]) -> Predicate:
    """One predicate for a whole list or watch request; an empty namespace means all. Raises ApiError 400."""
    terms: list[Predicate] = []
    if namespace:
        terms.append(lambda obj: section(obj, "metadata").get("namespace") == namespace)
    if labels:
        terms.append(label_predicate(labels))
    if fields:
        terms.append(field_predicate(fields, allowed))
    return lambda obj: all(term(obj) for term in terms)
