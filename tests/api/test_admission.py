"""Chaos Mesh's webhooks for NetworkChaos: what they fill in and what they refuse."""

from typing import Any

import pytest

from resync.lab.admission import RefusedError, is_duration, mutate, validate
from resync.lab.api.objects import clone

SELECTOR = {"labelSelectors": {"app": "vllm"}}
TARGET = {"mode": "all", "selector": {"labelSelectors": {"app": "gateway"}}}


def _chaos(**spec: Any) -> dict[str, Any]:
    plain = {"action": "delay", "mode": "all", "selector": SELECTOR, "delay": {"latency": "50ms"}}
    return {"kind": "NetworkChaos", "metadata": {"name": "d", "namespace": "app"}, "spec": {**plain, **spec}}


def test_defaults_are_those_of_the_real_webhook() -> None:
    sent = _chaos(
        target=TARGET, loss={"loss": "25"}, delay={"latency": "50ms", "reorder": {"gap": 1, "reorder": "5"}}
    )
    before = clone(sent)
    spec = mutate("NetworkChaos", sent)["spec"]
    assert sent == before
    assert spec["direction"] == "to"
    assert spec["selector"]["namespaces"] == ["app"]
    assert spec["target"]["selector"]["namespaces"] == ["app"]
    assert spec["delay"] == {
        "latency": "50ms",
        "jitter": "0ms",
        "correlation": "0",
        "reorder": {"gap": 1, "reorder": "5", "correlation": "0"},
    }
    assert spec["loss"] == {"loss": "25", "correlation": "0"}


def test_what_is_said_is_kept() -> None:
    sent = _chaos(direction="both", selector={"namespaces": ["x"]}, delay={"latency": "1ms", "jitter": "2ms"})
    spec = mutate("NetworkChaos", sent)["spec"]
    assert (spec["direction"], spec["selector"]["namespaces"], spec["delay"]["jitter"]) == (
        "both",
        ["x"],
        "2ms",
    )


def test_a_device_loses_what_follows_the_at_sign() -> None:
    assert mutate("NetworkChaos", _chaos(device="eth0@if7"))["spec"]["device"] == "eth0"


ACCEPTED: list[dict[str, Any]] = [
    {},
    {"direction": "both", "target": TARGET},
    {"action": "partition", "direction": "both"},
    {"externalTargets": ["10.0.0.1"], "direction": "to"},
    {"duration": "1m30s"},
    {"duration": ""},
    {"mode": "fixed", "value": "2"},
    {"mode": "fixed-percent", "value": "100"},
    {"mode": "one", "value": "nonsense"},
    {"loss": {"loss": "150"}},
    {"loss": {"loss": "-3", "correlation": "1e2"}},
    {"rate": {"rate": "1mbit"}},
    {"action": "delay", "delay": {"latency": "0.5s"}},
]


@pytest.mark.parametrize("spec", ACCEPTED)
def test_the_real_webhook_lets_this_through(spec: dict[str, Any]) -> None:
    validate("NetworkChaos", None, mutate("NetworkChaos", _chaos(**spec)))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"direction": "both"}, "cannot be used when targets is empty"),
    ({"direction": "from"}, "cannot be used when targets is empty"),
    (
        {"direction": "both", "target": TARGET, "externalTargets": ["10.0.0.1"]},
        "external targets cannot be used",
    ),
    ({"duration": "soon"}, "parse duration field error"),
    ({"duration": "5"}, "parse duration field error"),
    ({"mode": "fixed", "value": "0"}, "value must be greater than 0 with mode:fixed"),
    ({"mode": "fixed"}, "parse value field error"),
    (
        {"mode": "fixed-percent", "value": "101"},
        "value of 101 is invalid, Must be (0,100] with mode:fixed-percent",
    ),
    ({"mode": "random-max-percent", "value": "0"}, "value of 0 is invalid"),
    ({"mode": "fixed-percent", "value": "a"}, "parse value field error"),
    ({"target": {**TARGET, "mode": "fixed", "value": "x"}}, "Spec.Target"),
    ({"delay": {"latency": "1ms", "correlation": "much"}}, "Spec.TcParameter.Delay.Correlation"),
    ({"loss": {"loss": "25%"}}, "Spec.TcParameter.Loss.Loss"),
    ({"corrupt": {"corrupt": ""}}, "Spec.TcParameter.Corrupt.Corrupt"),
    ({"duplicate": {"duplicate": " 5"}}, "Spec.TcParameter.Duplicate.Duplicate"),
    ({"rate": {"rate": "1.5mbit"}}, "invalid unit"),
    ({"bandwidth": {"rate": "fast", "limit": 1, "buffer": 1}}, "invalid unit"),
]


@pytest.mark.parametrize(("spec", "words"), REFUSED)
def test_the_real_webhook_refuses_this_in_these_words(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError) as caught:
        validate("NetworkChaos", None, mutate("NetworkChaos", _chaos(**spec)))
    assert str(caught.value).startswith('admission webhook "vnetworkchaos.kb.io" denied the request: Spec.')
    assert words in str(caught.value)


def test_a_spec_never_changes_but_its_metadata_may() -> None:
    old = mutate("NetworkChaos", _chaos())
    annotated = {
        **old,
        "metadata": {**old["metadata"], "annotations": {"experiment.chaos-mesh.org/pause": "true"}},
    }
    validate("NetworkChaos", old, annotated)
    with pytest.raises(RefusedError, match="Cannot update chaos spec"):
        validate("NetworkChaos", old, mutate("NetworkChaos", _chaos(duration="9s")))


def test_kinds_without_a_webhook_pass_untouched() -> None:
    other: dict[str, Any] = {"spec": {"tcs": []}}
    assert mutate("PodNetworkChaos", other) is other
    validate("PodNetworkChaos", None, other)


@pytest.mark.parametrize("text", ["20s", "300ms", "2h45m", "-1s", "0", ".5s", "1.s"])
def test_a_duration_is_what_go_parses(text: str) -> None:
    assert is_duration(text)


@pytest.mark.parametrize("text", ["", "5", "1d", "1 s", "s", ".s", "1s "])
def test_anything_else_is_no_duration(text: str) -> None:
    assert not is_duration(text)
