"""Who is hit, by selector and mode; and the small pure parts of the mesh."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.lab.mesh.durations import seconds
from resync.lab.mesh.errors import NothingSelectedError, SelectorError
from resync.lab.mesh.networks import NetworkChaos
from resync.lab.mesh.objects import Choice, Pod
from resync.lab.mesh.peers import short_name
from resync.lab.mesh.pipeline import remaining_s
from resync.lab.mesh.selecting import choose, matched

OPTED_IN = frozenset({"app", "other"})
DICE = Random(1)


def pod(name: str, namespace: str = "app", phase: str = "Running", **labels: str) -> Pod:
    metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": {"team": name}}
    return msgspec.convert(
        {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": {"phase": phase, "podIP": "10.0.0.1"}},
        Pod,
    )


PODS = [
    pod("a-0", app="a", tier="front"),
    pod("a-1", app="a"),
    pod("b-0", app="b"),
    pod("a-9", namespace="other", app="a"),
    pod("a-8", namespace="shut", app="a"),
    pod("a-7", phase="Pending", app="a"),
]


def names(selector: dict[str, Any]) -> list[str]:
    choice = msgspec.convert({"selector": selector, "mode": "all"}, Choice)
    return [found.metadata.key for found in matched(choice.selector, "app", PODS, OPTED_IN)]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, ["app/a-0", "app/a-1", "app/a-7", "app/b-0"]),
        ({"labelSelectors": {"app": "a"}}, ["app/a-0", "app/a-1", "app/a-7"]),
        ({"labelSelectors": {"app": "a"}, "podPhaseSelectors": ["Running"]}, ["app/a-0", "app/a-1"]),
        ({"podPhaseSelectors": ["!Running"]}, ["app/a-7"]),
        ({"labelSelectors": {"app": "a"}, "namespaces": ["other", "shut"]}, ["other/a-9"]),
        ({"annotationSelectors": {"team": "b-0"}}, ["app/b-0"]),
        ({"fieldSelectors": {"metadata.name": "a-1"}}, ["app/a-1"]),
        ({"expressionSelectors": [{"key": "tier", "operator": "Exists"}]}, ["app/a-0"]),
        (
            {"expressionSelectors": [{"key": "app", "operator": "NotIn", "values": ["a"]}]},
            ["app/b-0"],
        ),
        ({"nodes": ["n2"]}, []),
        ({"pods": {"app": ["b-0", "nobody"]}, "labelSelectors": {"app": "a"}}, ["app/b-0"]),
        ({"pods": {"shut": ["a-8"]}}, []),
    ],
)
def test_a_selector_matches(selector: dict[str, Any], expected: list[str]) -> None:
    assert names(selector) == expected


@pytest.mark.parametrize(
    ("selector", "why"),
    [
        ({"nodeSelectors": {"zone": "x"}}, "one node"),
        ({"fieldSelectors": {"spec.magic": "x"}}, r"not 'spec\.magic'"),
        ({"expressionSelectors": [{"key": "app", "operator": "Near"}]}, "not 'Near'"),
    ],
)
def test_a_selector_nobody_can_follow_is_refused(selector: dict[str, Any], why: str) -> None:
    with pytest.raises(SelectorError, match=why):
        names(selector)


def chosen(mode: str, value: str, seed: int = 1) -> list[str]:
    choice = msgspec.convert({"selector": {}, "mode": mode, "value": value}, Choice)
    dice = Random(seed)
    return [found.metadata.name for found in choose(choice, "app", PODS, OPTED_IN, dice)]


@pytest.mark.parametrize(
    ("mode", "value", "count"),
    [
        *(("one", "", 1), ("all", "", 4), ("fixed", "2", 2), ("fixed", "99", 4)),
        *(("fixed-percent", "50", 2), ("fixed-percent", "1", 1), ("fixed-percent", "51", 3)),
    ],
)
def test_a_mode_takes_so_many(mode: str, value: str, count: int) -> None:
    found = chosen(mode, value)
    assert len(found) == len(set(found)) == count


def test_random_max_percent_may_draw_none_and_never_too_many() -> None:
    counts = set()
    for seed in range(60):
        try:
            counts.add(len(chosen("random-max-percent", "50", seed)))
        except NothingSelectedError:
            counts.add(0)
    assert counts == {0, 1, 2}


def test_the_same_seed_draws_the_same_pods_and_others_draw_others() -> None:
    assert chosen("one", "", 3) == chosen("one", "", 3)
    assert len({tuple(chosen("one", "", seed)) for seed in range(20)}) > 1


@pytest.mark.parametrize(
    ("mode", "value"), [("fixed", "0"), ("fixed", "x"), ("fixed-percent", "101"), ("some", "1")]
)
def test_a_mode_nobody_can_follow_is_refused(mode: str, value: str) -> None:
    with pytest.raises(SelectorError):
        chosen(mode, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("300ms", 0.3), ("1m30s", 90), ("1.5h", 5400), ("-2s", -2), ("0", 0), ("5µs", 5e-6)],
)
def test_a_duration_reads_as_go_does(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "1d", "1e3s"])
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds(text)


@given(st.text(min_size=1, max_size=80), st.sampled_from(["net_netgt", "netport_nesrc", "set_netgt"]))
def test_a_set_name_fits_and_is_always_the_same(name: str, suffix: str) -> None:
    found = short_name(name, 27, suffix)
    assert len(found) <= 27
    assert found.endswith(suffix)
    assert found == short_name(name, 27, suffix)


def test_a_set_name_is_the_recorded_one() -> None:
    assert short_name("delay-to-target", 27, "net_netgt") == "delay_84b5314dab8_net_netgt"
    assert short_name("e2e", 27, "set_netgt") == "e2e_set_netgt"


@pytest.mark.parametrize(
    ("duration", "expected"), [("10s", 4.0), ("1s", 0.0), (None, None), ("", None), ("soon", None)]
)
def test_the_duration_counts_from_creation_and_what_does_not_parse_never_ends(
    duration: str | None, expected: float | None
) -> None:
    spec: dict[str, Any] = {"action": "delay", "mode": "all", "selector": {}, "duration": duration}
    metadata = {"name": "x", "creationTimestamp": "1970-01-01T00:01:40Z"}
    chaos = msgspec.convert({"metadata": metadata, "spec": spec}, NetworkChaos)
    assert remaining_s(chaos, 106.0) == expected
