"""Which pods a selector means: one case per rule of Chaos Mesh."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.cluster.pods import Pod
from resync.cluster.selectors import Expression, Selector, matches, selector_of

POD = Pod(
    namespace="ns",
    name="engine-0",
    uid="u",
    ip="127.1.0.1",
    phase="Running",
    node="node-0",
    labels={"app": "vllm", "tier": "gold"},
    annotations={"note": "yes"},
)


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        (Selector(label_selectors={"app": "vllm"}), True),
        (Selector(label_selectors={"app": "vllm", "tier": "gold"}), True),
        (Selector(label_selectors={"app": "vllm", "tier": "iron"}), False),
        (Selector(label_selectors={"other": ""}), False),
        (Selector(annotation_selectors={"note": "yes"}), True),
        (Selector(annotation_selectors={"note": "no"}), False),
        (Selector(expression_selectors=(Expression("app", "In", ("vllm", "x")),)), True),
        (Selector(expression_selectors=(Expression("app", "In", ("x",)),)), False),
        (Selector(expression_selectors=(Expression("app", "NotIn", ("x",)),)), True),
        (Selector(expression_selectors=(Expression("absent", "NotIn", ("x",)),)), True),
        (Selector(expression_selectors=(Expression("absent", "Exists"),)), False),
        (Selector(expression_selectors=(Expression("absent", "DoesNotExist"),)), True),
        (Selector(field_selectors={"metadata.name": "engine-0", "status.podIP": "127.1.0.1"}), True),
        (Selector(field_selectors={"spec.nodeName": "node-1"}), False),
        (Selector(nodes=("node-1", "node-0")), True),
        (Selector(nodes=("node-1",)), False),
        (Selector(pod_phase_selectors=("Running",)), True),
        (Selector(pod_phase_selectors=("Pending",)), False),
        (Selector(pod_phase_selectors=("!Pending",)), True),
        (Selector(pod_phase_selectors=("!Running",)), False),
        (Selector(namespaces=("ns",), label_selectors={"app": "vllm"}), True),
        (Selector(namespaces=("other",), label_selectors={"app": "vllm"}), False),
        (Selector(pods={"ns": ("engine-0",)}), True),
        (Selector(pods={"ns": ("engine-1",)}), False),
        (Selector(pods={"ns": ("engine-0",)}, label_selectors={"app": "x"}), True),
    ],
)
def test_each_rule(selector: Selector, *, wanted: bool) -> None:
    assert matches(selector, POD, "ns") is wanted
    if not selector.pods and not selector.namespaces:
        assert not matches(selector, POD, "elsewhere"), "empty namespaces mean the object's own"


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")), st.sampled_from(["In", "NotIn"]))
def test_in_and_not_in_are_opposites(labels: dict[str, str], operator: str) -> None:
    pod = Pod(namespace="ns", name="p", uid="u", labels=labels)
    answers = {
        one: matches(Selector(expression_selectors=(Expression("a", one, ("x",)),)), pod, "ns")
        for one in ("In", "NotIn")
    }
    assert answers[operator] is not answers["NotIn" if operator == "In" else "In"]
    assert answers["In"] is (labels.get("a") == "x")


def test_the_block_is_read_and_shown_by_its_own_names() -> None:
    block = {"namespaces": ["ns"], "labelSelectors": {"a": "b"}, "podPhaseSelectors": ["Running"]}
    found = selector_of(block, "spec.selector")
    assert str(found) == '{"namespaces":["ns"],"labelSelectors":{"a":"b"},"podPhaseSelectors":["Running"]}'
    assert found.places("own") == ("ns",)
    assert Selector().is_empty()
    assert not found.is_empty()
