"""Patches against the examples of their specifications, and laws they keep on any object."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.lab.api.errors import ApiError
from resync.lab.api.objects import JsonObject, clone
from resync.lab.api.patches import apply_operations, merge
from resync.lab.api.strategic import strategic_merge

WORDS = st.sampled_from(["a", "b", "c", "x/y", "~t"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=4)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_does_what_rfc_7386_lists(target: Any, patch: Any, result: Any) -> None:
    assert merge(target, patch) == result


@given(OBJECTS, OBJECTS)
def test_merging_twice_changes_nothing_more_and_neither_side_is_touched(
    target: JsonObject, patch: JsonObject
) -> None:
    before, sent = clone(target), clone(patch)
    once = merge(target, patch)
    assert merge(once, patch) == once
    assert (target, patch) == (before, sent)


DOCUMENT = {"foo": ["bar", "baz"], "a/b": 1, "m~n": 8, "deep": {"x": [{"y": 1}]}}


@pytest.mark.parametrize(
    ("operations", "path", "value"),
    [
        ([{"op": "add", "path": "/foo/1", "value": "qux"}], "foo", ["bar", "qux", "baz"]),
        ([{"op": "add", "path": "/foo/-", "value": "end"}], "foo", ["bar", "baz", "end"]),
        ([{"op": "remove", "path": "/foo/0"}], "foo", ["baz"]),
        ([{"op": "replace", "path": "/a~1b", "value": 2}], "a/b", 2),
        ([{"op": "replace", "path": "/m~0n", "value": 2}], "m~n", 2),
        ([{"op": "move", "from": "/foo/0", "path": "/foo/1"}], "foo", ["baz", "bar"]),
        ([{"op": "copy", "from": "/deep/x/0", "path": "/new"}], "new", {"y": 1}),
        ([{"op": "test", "path": "/a~1b", "value": 1}, {"op": "add", "path": "/ok", "value": 1}], "ok", 1),
    ],
)
def test_json_patch_does_what_rfc_6902_says(operations: Any, path: str, value: Any) -> None:
    before = clone(DOCUMENT)
    assert apply_operations(DOCUMENT, operations)[path] == value
    assert before == DOCUMENT


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ([{"op": "test", "path": "/a~1b", "value": 2}], 422),
        ([{"op": "remove", "path": "/missing"}], 422),
        ([{"op": "replace", "path": "/foo/7", "value": 1}], 422),
        ([{"op": "replace", "path": "/foo/-", "value": 1}], 422),
        ([{"op": "remove", "path": "/foo/-"}], 422),
        ([{"op": "add", "path": "/missing/x", "value": 1}], 422),
        ([{"op": "add", "path": "/a~1b/x", "value": 1}], 422),
        ([{"op": "move", "from": "/deep", "path": "/deep/x"}], 422),
        ([{"op": "replace", "path": "", "value": 1}], 422),
        ([{"op": "add", "path": "/x"}], 400),
        ([{"op": "fly", "path": "/x"}], 400),
        ([{"op": "add", "path": "x", "value": 1}], 400),
        ({"op": "add"}, 400),
        ([1], 400),
    ],
)
def test_a_json_patch_that_cannot_be_done_changes_nothing(operations: Any, code: int) -> None:
    before = clone(DOCUMENT)
    with pytest.raises(ApiError) as caught:
        apply_operations(DOCUMENT, operations)
    assert caught.value.code == code
    assert before == DOCUMENT


LIST = {"type": "array", "x-kubernetes-patch-strategy": "merge"}
SCHEMA = {"properties": {"named": {**LIST, "x-kubernetes-patch-merge-key": "name"}, "plain": LIST}}
STORED = {
    "named": [{"name": "a", "v": 1}, {"name": "b", "v": 2}],
    "plain": ["x"],
    "atomic": [1],
    "map": {"k": 1},
}


@pytest.mark.parametrize(
    ("patch", "path", "value"),
    [
        ({"named": [{"name": "b", "w": 3}]}, "named", [{"name": "a", "v": 1}, {"name": "b", "v": 2, "w": 3}]),
        ({"named": [{"name": "c"}]}, "named", [{"name": "a", "v": 1}, {"name": "b", "v": 2}, {"name": "c"}]),
        ({"named": [{"name": "a", "$patch": "delete"}]}, "named", [{"name": "b", "v": 2}]),
        ({"named": [{"$patch": "replace"}, {"name": "z"}]}, "named", [{"name": "z"}]),
        ({"named": [{"name": "a", "v": None}]}, "named", [{"name": "a"}, {"name": "b", "v": 2}]),
        (
            {"$setElementOrder/named": [{"name": "b"}, {"name": "a"}]},
            "named",
            [{"name": "b", "v": 2}, {"name": "a", "v": 1}],
        ),
        ({"plain": ["y", "x"]}, "plain", ["x", "y"]),
        ({"$deleteFromPrimitiveList/plain": ["x"]}, "plain", []),
        ({"atomic": [2]}, "atomic", [2]),
        ({"map": {"$patch": "replace", "j": 2}}, "map", {"j": 2}),
        ({"map": {"$retainKeys": ["j"], "j": 2}}, "map", {"j": 2}),
        ({"map": {"k": None}}, "map", {}),
    ],
)
def test_strategic_merge_knows_lists_that_are_maps(patch: Any, path: str, value: Any) -> None:
    before = clone(STORED)
    assert strategic_merge(STORED, patch, SCHEMA)[path] == value
    assert before == STORED


def test_strategic_delete_of_a_map_takes_it_away() -> None:
    assert "map" not in strategic_merge(STORED, {"map": {"$patch": "delete"}}, SCHEMA)


def test_finalizers_merge_as_a_set_and_owners_by_uid() -> None:
    stored = {"metadata": {"finalizers": ["a"], "ownerReferences": [{"uid": "1", "name": "x"}]}}
    patch = {"metadata": {"finalizers": ["b"], "ownerReferences": [{"uid": "2", "name": "y"}]}}
    found = strategic_merge(stored, patch, {})["metadata"]
    assert found["finalizers"] == ["a", "b"]
    assert [owner["uid"] for owner in found["ownerReferences"]] == ["1", "2"]


def test_an_entry_without_its_merge_key_is_a_bad_request() -> None:
    with pytest.raises(ApiError) as caught:
        strategic_merge(STORED, {"named": [{"v": 1}]}, SCHEMA)
    assert caught.value.code == 400
