"""Our definitions against Chaos Mesh's own: both accept, refuse and read the same objects alike.

Hand-made objects lie on both sides of every rule; generated ones are drawn from either schema and spoilt,
so a rule that only one of the two has is found from both directions.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from resync.lab.api.definitions import own_definitions
from resync.lab.api.objects import JsonObject, clone
from resync.lab.api.resources import Resource, from_definition
from resync.lab.api.schemas import drop_nulls, fill_defaults, prune, validate

VENDORED = Path(__file__).parents[2].parent / "shared" / "crds"
pytestmark = pytest.mark.skipif(
    not VENDORED.is_dir(), reason=f"Chaos Mesh's definitions are not at {VENDORED}"
)

KINDS = ("networkchaos", "podchaos", "podnetworkchaos")
OURS = {resource.plural: resource for found in own_definitions() for resource in from_definition(found)}


def _theirs(plural: str) -> Resource:
    text = (VENDORED / f"chaos-mesh.org_{plural}.yaml").read_text()
    return from_definition(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))[0]  # noqa: S506


THEIRS = {plural: _theirs(plural) for plural in KINDS} if VENDORED.is_dir() else {}


def _read(resource: Resource, obj: JsonObject) -> tuple[JsonObject, list[str], list[tuple[str, str]]]:
    """The object as it would be stored, the fields dropped, and what is wrong with it."""
    body = clone(obj)
    dropped = sorted(prune(resource.schema, body))
    fill_defaults(resource.schema, body)
    drop_nulls(resource.schema, body)
    return body, dropped, sorted((cause.path, cause.reason) for cause in validate(resource.schema, body))


def _agree(plural: str, obj: JsonObject) -> list[tuple[str, str]]:
    ours, theirs = _read(OURS[plural], obj), _read(THEIRS[plural], obj)
    assert ours == theirs
    return ours[2]


def _chaos(**spec: Any) -> JsonObject:
    plain = {"action": "delay", "mode": "all", "selector": {}, "delay": {"latency": "50ms"}}
    return {"spec": {word: value for word, value in {**plain, **spec}.items() if value != "ABSENT"}}


RECORD = {"id": "a/b", "injectedCount": 1, "phase": "Injected", "recoveredCount": 0, "selectorKey": "."}
EVENT = {"operation": "Apply", "type": "Succeeded", "timestamp": "2026-11-23T00:43:42Z"}
TARGET: JsonObject = {"mode": "all", "selector": {"pods": {"app": ["b-0"]}}}


def _status(**experiment: Any) -> JsonObject:
    return {**_chaos(), "status": {"experiment": experiment}}


GOOD: list[JsonObject] = [
    _chaos(),
    *(_chaos(action=word) for word in ("netem", "loss", "duplicate", "corrupt", "partition", "bandwidth")),
    *(_chaos(mode=word, value="1") for word in ("one", "fixed", "fixed-percent", "random-max-percent")),
    _chaos(direction="both", target=TARGET, duration="20s", device="eth0", targetDevice="eth1"),
    _chaos(selector={"namespaces": ["a"], "labelSelectors": {"a": "b"}, "podPhaseSelectors": ["Running"]}),
    _chaos(
        selector={"expressionSelectors": [{"key": "a", "operator": "In", "values": ["b"]}], "nodes": ["n"]}
    ),
    _chaos(selector={"annotationSelectors": {}, "fieldSelectors": {"a": "b"}, "nodeSelectors": {"c": "d"}}),
    _chaos(externalTargets=["10.0.0.1:80"], remoteCluster="there", duration=None, direction=None),
    _chaos(
        delay={"latency": "1.5s", "jitter": "0ms", "correlation": "5", "reorder": {"gap": 1, "reorder": "2"}}
    ),
    _chaos(loss={"loss": "25", "correlation": "10"}, duplicate={"duplicate": "1"}, corrupt={"corrupt": "x"}),
    _chaos(
        bandwidth={"rate": "1mbps", "limit": 1, "buffer": 1, "peakrate": 0, "minburst": 0},
        rate={"rate": "1bit"},
    ),
    _chaos(unknown=1, selector={"alsoUnknown": {}}, delay={"latency": "1ms", "typo": 1}),
    _status(),
    _status(desiredPhase="Run", containerRecords=[{**RECORD, "events": [EVENT, {**EVENT, "message": "m"}]}]),
    {
        **_status(),
        "status": {
            "experiment": {},
            "instances": {"a/b": 3},
            "conditions": [{"type": "Selected", "status": "True"}],
        },
    },
]

BAD: list[JsonObject] = [
    {},
    {"spec": "delay"},
    {"spec": {}},
    *(_chaos(**{word: "ABSENT"}) for word in ("action", "mode", "selector")),
    _chaos(action="reorder"),
    _chaos(mode="some"),
    _chaos(direction="sideways"),
    _chaos(value=1),
    _chaos(duration=20),
    _chaos(selector=[]),
    _chaos(selector={"namespaces": "default"}),
    _chaos(selector={"labelSelectors": {"a": 1}}),
    _chaos(selector={"pods": {"default": "a"}}),
    _chaos(selector={"expressionSelectors": [{"key": "a"}]}),
    _chaos(target={"mode": "all"}),
    _chaos(target={"selector": {}}),
    _chaos(target={"mode": "most", "selector": {}}),
    _chaos(externalTargets="10.0.0.1"),
    _chaos(externalTargets=[80]),
    _chaos(delay={}),
    *(_chaos(delay={"latency": text}) for text in ("50", "ms", "-1ms", "1m30s", "50 ms", "50ms ", 50)),
    _chaos(delay={"latency": "1ms", "jitter": "x"}),
    _chaos(delay={"latency": "1ms", "reorder": {"reorder": "1"}}),
    _chaos(delay={"latency": "1ms", "reorder": {"reorder": "1", "gap": "1"}}),
    _chaos(loss={}),
    _chaos(loss={"loss": 25}),
    _chaos(duplicate={"correlation": "1"}),
    _chaos(corrupt={"corrupt": 1}),
    _chaos(rate={}),
    *(
        _chaos(bandwidth={"rate": "1bit", "limit": 1, "buffer": 1, **part})
        for part in ({"limit": 0}, {"buffer": 2**31}, {"peakrate": -1}, {"minburst": 1.5}, {"rate": 1})
    ),
    {**_chaos(), "status": {}},
    {**_chaos(), "status": {"experiment": {}, "instances": {"a": "1"}}},
    {**_chaos(), "status": {"experiment": {}, "conditions": [{"type": "Selected"}]}},
    _status(desiredPhase="Pause"),
    *(
        _status(containerRecords=[{key: value for key, value in RECORD.items() if key != word}])
        for word in RECORD
    ),
    _status(containerRecords=[{**RECORD, "injectedCount": "1"}]),
    *(
        _status(
            containerRecords=[
                {**RECORD, "events": [{key: value for key, value in EVENT.items() if key != word}]}
            ]
        )
        for word in EVENT
    ),
    _status(containerRecords=[{**RECORD, "events": [{**EVENT, "timestamp": "now"}]}]),
]


def test_there_are_enough_objects_on_both_sides() -> None:
    assert len(GOOD) + len(BAD) >= 40
    assert min(len(GOOD), len(BAD)) >= 20


@pytest.mark.parametrize("obj", GOOD, ids=lambda _: None)
def test_both_accept(obj: JsonObject) -> None:
    assert _agree("networkchaos", obj) == []


@pytest.mark.parametrize("obj", BAD, ids=lambda _: None)
def test_both_refuse_for_the_same_reason(obj: JsonObject) -> None:
    assert _agree("networkchaos", obj) != []


SOURCE = {"type": "netem", "source": "a/b"}
PER_POD_BAD: list[JsonObject] = [
    {},
    {"spec": {"tcs": [{"type": "netem"}]}},
    {"spec": {"tcs": [{**SOURCE, "delay": {"latency": "soon"}}]}},
    {"spec": {"tcs": [{**SOURCE, "bandwidth": {"rate": "1bit", "limit": 0, "buffer": 1}}]}},
    {"spec": {"ipsets": [{"name": "s", "source": "a/b"}]}},
    {
        "spec": {
            "ipsets": [
                {"name": "s", "source": "a", "ipsetType": "t", "cidrAndPorts": [{"cidr": "c", "port": 0}]}
            ]
        }
    },
    {"spec": {"iptables": [{"name": "c", "source": "a/b"}]}},
    {"spec": {"iptables": [{"name": "c", "source": "a/b", "direction": "input", "ipsets": [1]}]}},
    {"spec": {}, "status": {"observedGeneration": "1"}},
]
PER_POD_GOOD: list[JsonObject] = [
    {"spec": {}},
    {
        "spec": {
            "tcs": [{**SOURCE, "ipset": "s", "device": "eth0", "delay": {"latency": "1ms", "jitter": "0ms"}}]
        }
    },
    {
        "spec": {
            "iptables": [{"name": "c", "source": "a/b", "direction": "input", "ipsets": None, "device": "d"}]
        }
    },
    {
        "spec": {
            "ipsets": [
                {"name": "s", "source": "a", "ipsetType": "t", "cidrAndPorts": [{"cidr": "c", "port": 1}]}
            ]
        }
    },
    {"spec": {}, "status": {"observedGeneration": 1, "failedMessage": ""}},
]


@pytest.mark.parametrize("obj", PER_POD_GOOD, ids=lambda _: None)
def test_both_accept_per_pod(obj: JsonObject) -> None:
    assert _agree("podnetworkchaos", obj) == []


@pytest.mark.parametrize("obj", PER_POD_BAD, ids=lambda _: None)
def test_both_refuse_per_pod(obj: JsonObject) -> None:
    assert _agree("podnetworkchaos", obj) != []


def _pod_chaos(**spec: Any) -> JsonObject:
    plain = {"action": "pod-failure", "mode": "one", "selector": {"labelSelectors": {"app": "vllm"}}}
    return {"spec": {word: value for word, value in {**plain, **spec}.items() if value != "ABSENT"}}


POD_GOOD: list[JsonObject] = [
    _pod_chaos(),
    *(_pod_chaos(action=word) for word in ("pod-kill", "container-kill")),
    _pod_chaos(duration="30s", gracePeriod=0, containerNames=["main"], remoteCluster="there", value="1"),
    _pod_chaos(gracePeriod=2**33, containerNames=[], typo=1),
    {**_pod_chaos(), "status": {"experiment": {"desiredPhase": "Stop", "containerRecords": [RECORD]}}},
    {**_pod_chaos(), "status": {"experiment": {}, "instances": {"a/b": 3}}},
]
POD_BAD: list[JsonObject] = [
    {},
    *(_pod_chaos(**{word: "ABSENT"}) for word in ("action", "mode", "selector")),
    _pod_chaos(action="delay"),
    _pod_chaos(action="pod-restart"),
    _pod_chaos(gracePeriod=-1),
    _pod_chaos(gracePeriod="1"),
    _pod_chaos(containerNames="main"),
    _pod_chaos(containerNames=[1]),
    _pod_chaos(duration=30),
    _pod_chaos(mode="most"),
    _pod_chaos(selector={"pods": {"default": "a"}}),
    {**_pod_chaos(), "status": {}},
    {**_pod_chaos(), "status": {"experiment": {"desiredPhase": "Pause"}}},
]


@pytest.mark.parametrize("obj", POD_GOOD, ids=lambda _: None)
def test_both_accept_a_pod_chaos(obj: JsonObject) -> None:
    assert _agree("podchaos", obj) == []


@pytest.mark.parametrize("obj", POD_BAD, ids=lambda _: None)
def test_both_refuse_a_pod_chaos(obj: JsonObject) -> None:
    assert _agree("podchaos", obj) != []


# Generated objects


SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(["", "a", "50ms", "1.5s", "10", "2026-11-23T00:43:42Z"]),
    "integer": st.integers(-1, 3) | st.sampled_from([2**31, 2**63, 65536]),
    "boolean": st.booleans(),
}
SPOILT = st.sampled_from([None, 1, "x", [], {}, True, 1.5, [1], {"k": "v"}, {"k": 1}])


def _near(draw: st.DrawFn, schema: Any) -> Any:
    """A value near what a schema describes: mostly right, now and then spoilt in any place."""
    if draw(st.integers(0, 8)) == 0:
        return draw(SPOILT)
    if "enum" in schema:
        return draw(st.sampled_from([*schema["enum"], "other"]))
    if schema.get("properties"):
        return _near_object(draw, schema)
    if schema.get("type") == "array":
        return [_near(draw, schema.get("items", {})) for _ in range(draw(st.integers(0, 2)))]
    if isinstance(schema.get("additionalProperties"), dict):
        words = draw(st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True))
        return {word: _near(draw, schema["additionalProperties"]) for word in words}
    return draw(SCALARS.get(schema.get("type", ""), SPOILT))


def _near_object(draw: st.DrawFn, schema: Any) -> JsonObject:
    needed = [word for word in schema.get("required", ()) if draw(st.integers(0, 15))]
    extra = draw(st.lists(st.sampled_from([*schema["properties"], "unknown"]), max_size=4, unique=True))
    known = schema["properties"]
    return {word: _near(draw, known.get(word, {})) for word in dict.fromkeys([*needed, *extra])}


@st.composite
def _objects(draw: st.DrawFn, side: str, plural: str, word: str) -> JsonObject:
    resource = (OURS if side == "ours" else THEIRS)[plural]
    return {"spec": {}, word: _near(draw, resource.schema["properties"][word])}


PARTS = [(plural, word) for plural in KINDS for word in ("spec", "status")]


@pytest.mark.parametrize("side", ["ours", "theirs"])
@pytest.mark.parametrize(("plural", "word"), PARTS)
@settings(max_examples=80)
@given(data=st.data())
def test_generated_objects_are_judged_alike(side: str, plural: str, word: str, data: st.DataObject) -> None:
    _agree(plural, data.draw(_objects(side, plural, word)))


def _leaves(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field a schema knows, by path, with all that constrains it."""
    rules = {
        word: value for word, value in schema.items() if word not in {"description", "properties", "items"}
    }
    rules.pop("x-kubernetes-list-type", None)
    yield (*path, repr(sorted(rules.items(), key=str)).replace('"', "'"))
    for word, part in (schema.get("properties") or {}).items():
        yield from _leaves(part, (*path, word))
    if schema.get("items"):
        yield from _leaves(schema["items"], (*path, "[]"))


@pytest.mark.parametrize("plural", KINDS)
def test_both_know_the_same_fields(plural: str) -> None:
    def fields(resource: Resource) -> set[tuple[str, ...]]:
        return {leaf[:-1] for leaf in _leaves(resource.schema)}

    assert fields(OURS[plural]) == fields(THEIRS[plural])


@pytest.mark.parametrize("plural", KINDS)
def test_both_are_served_the_same_way(plural: str) -> None:
    ours, theirs = OURS[plural], THEIRS[plural]
    for word in (
        "group",
        "version",
        "kind",
        "list_kind",
        "singular",
        "namespaced",
        "subresources",
        "short_names",
    ):
        assert getattr(ours, word) == getattr(theirs, word), word
    assert [(column.name, column.path) for column in ours.columns] == [
        (column.name, column.path) for column in theirs.columns
    ]
