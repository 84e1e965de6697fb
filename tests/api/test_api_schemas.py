"""Structural schemas: every check refuses what it should, and defaulting and pruning touch nothing else."""

from typing import Any

import pytest

from resync.lab.api.schemas import drop_nulls, fill_defaults, prune, validate


def _of(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"f": part}}


CASES: list[tuple[dict[str, Any], Any, Any, str]] = [
    ({"type": "string"}, "a", 1, "FieldValueTypeInvalid"),
    ({"type": "integer"}, 1, "1", "FieldValueTypeInvalid"),
    ({"type": "integer"}, 2.0, 2.5, "FieldValueTypeInvalid"),
    ({"type": "integer"}, 0, True, "FieldValueTypeInvalid"),
    ({"type": "number"}, 2.5, "x", "FieldValueTypeInvalid"),
    ({"type": "boolean"}, True, 1, "FieldValueTypeInvalid"),
    ({"type": "array", "items": {"type": "string"}}, ["a"], ["a", 1], "FieldValueTypeInvalid"),
    ({"type": "array"}, [], {}, "FieldValueTypeInvalid"),
    (
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"k": "v"},
        {"k": 1},
        "FieldValueTypeInvalid",
    ),
    ({"type": "string", "nullable": True}, None, 3, "FieldValueTypeInvalid"),
    ({"type": "string"}, "", None, "FieldValueTypeInvalid"),
    ({"x-kubernetes-int-or-string": True}, "8080", 1.5, "FieldValueTypeInvalid"),
    ({"x-kubernetes-int-or-string": True}, 8080, [], "FieldValueTypeInvalid"),
    ({"enum": ["a", "b"]}, "a", "c", "FieldValueNotSupported"),
    ({"type": "string", "pattern": "^[0-9]+ms$"}, "50ms", "50ms\n", "FieldValueInvalid"),
    ({"type": "string", "pattern": "ab"}, "xaby", "ba", "FieldValueInvalid"),
    ({"type": "integer", "minimum": 1}, 1, 0, "FieldValueInvalid"),
    ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 2, 1, "FieldValueInvalid"),
    ({"type": "integer", "maximum": 3}, 3, 4, "FieldValueInvalid"),
    ({"type": "integer", "maximum": 3, "exclusiveMaximum": True}, 2, 3, "FieldValueInvalid"),
    ({"type": "integer", "multipleOf": 4}, 8, 9, "FieldValueInvalid"),
    ({"type": "integer", "format": "int32"}, 2**31 - 1, 2**31, "FieldValueInvalid"),
    ({"type": "integer", "format": "int64"}, -(2**63), 2**63, "FieldValueInvalid"),
    ({"type": "string", "format": "date-time"}, "2026-11-24T19:00:00Z", "yesterday", "FieldValueInvalid"),
    (
        {"type": "string", "format": "date-time"},
        "2026-11-24T19:00:00.5+01:00",
        "2026-11-24",
        "FieldValueInvalid",
    ),
    ({"type": "string", "minLength": 2}, "ab", "a", "FieldValueInvalid"),
    ({"type": "string", "maxLength": 2}, "ab", "abc", "FieldValueInvalid"),
    ({"type": "array", "minItems": 1}, [1], [], "FieldValueInvalid"),
    ({"type": "array", "maxItems": 1}, [1], [1, 2], "FieldValueInvalid"),
    ({"type": "array", "uniqueItems": True}, [1, 2], [1, 1], "FieldValueInvalid"),
    ({"type": "object", "minProperties": 1}, {"a": 1}, {}, "FieldValueInvalid"),
    ({"type": "object", "maxProperties": 1}, {"a": 1}, {"a": 1, "b": 2}, "FieldValueInvalid"),
    ({"type": "object", "required": ["x"]}, {"x": 1}, {"y": 1}, "FieldValueRequired"),
    ({"type": "array", "x-kubernetes-list-type": "set"}, ["a", "b"], ["a", "a"], "FieldValueDuplicate"),
    (
        {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]},
        [{"n": 1}, {"n": 2}],
        [{"n": 1}, {"n": 1}],
        "FieldValueDuplicate",
    ),
    ({"allOf": [{"minimum": 1}, {"maximum": 3}]}, 2, 4, "FieldValueInvalid"),
    ({"anyOf": [{"enum": [1]}, {"enum": [2]}]}, 2, 3, "FieldValueInvalid"),
    ({"oneOf": [{"minimum": 1}, {"minimum": 5}]}, 2, 7, "FieldValueInvalid"),
    ({"not": {"enum": [1]}}, 2, 1, "FieldValueInvalid"),
]


@pytest.mark.parametrize(("part", "good", "bad", "reason"), CASES)
def test_each_rule_accepts_and_refuses(part: dict[str, Any], good: Any, bad: Any, reason: str) -> None:
    assert validate(_of(part), {"f": good}) == []
    causes = validate(_of(part), {"f": bad})
    assert [cause.reason for cause in causes] == [reason]
    assert causes[0].path.startswith("f")


def test_every_wrong_field_is_named_with_its_path() -> None:
    inner = {"type": "object", "required": ["x"], "properties": {"n": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": inner}}}
    causes = validate(schema, {"a": [{"x": 1, "n": "one"}, {"n": 2}]})
    assert [cause.path for cause in causes] == ["a[0].n", "a[1].x"]


def test_pruning_removes_unknown_fields_and_says_which() -> None:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"known": {}, "list": {"type": "array", "items": _of({})}},
            },
            "open": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"o": _of({})},
            },
            "pairs": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
    obj = {
        "kind": "K",
        "metadata": {"name": "n"},
        "spec": {"known": 1, "typo": 2, "list": [{"f": 1, "g": 2}]},
        "open": {"anything": {"goes": 1}, "o": {"f": 1, "x": 2}},
        "pairs": {"a": "b"},
        "stray": 1,
    }
    assert sorted(prune(schema, obj)) == ["open.o.x", "spec.list[0].g", "spec.typo", "stray"]
    assert obj == {
        "kind": "K",
        "metadata": {"name": "n"},
        "spec": {"known": 1, "list": [{"f": 1}]},
        "open": {"anything": {"goes": 1}, "o": {"f": 1}},
        "pairs": {"a": "b"},
    }


def test_defaults_fill_only_places_that_exist() -> None:
    schema = _of(
        {"type": "object", "properties": {"d": {"type": "string", "default": "to"}, "e": {"default": {}}}}
    )
    empty: dict[str, Any] = {}
    fill_defaults(schema, empty)
    assert empty == {}
    there: dict[str, Any] = {"f": {"d": None}}
    fill_defaults(schema, there)
    assert there == {"f": {"d": "to", "e": {}}}
    there["f"]["e"]["changed"] = True
    again: dict[str, Any] = {"f": {"d": "from"}}
    fill_defaults(schema, again)
    assert again == {"f": {"d": "from", "e": {}}}


def test_nulls_nobody_allowed_are_dropped() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string", "nullable": True}},
    }
    obj = {"a": None, "b": None}
    drop_nulls(schema, obj)
    assert obj == {"b": None}
    assert validate(schema, obj) == []
