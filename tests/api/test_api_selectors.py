"""Selectors decide which pods a fault hits: what is not understood must never match everything."""

import pytest

from resync.lab.api.errors import ApiError
from resync.lab.api.resources import METADATA_FIELDS
from resync.lab.api.selectors import field_predicate, label_predicate, matcher

POD = {
    "metadata": {"name": "a", "namespace": "n", "labels": {"app": "vllm", "tier": "1", "x.dev/y": ""}},
    "spec": {"nodeName": "n1", "hostNetwork": False},
}
ALLOWED = frozenset([*METADATA_FIELDS, "spec.nodeName", "spec.hostNetwork", "status.phase"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=vllm", True),
        ("app==vllm", True),
        ("app=other", False),
        ("app!=other", True),
        ("missing!=other", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("!app", False),
        ("app in (a, vllm)", True),
        ("app in (a,b)", False),
        ("app notin (a,b)", True),
        ("missing notin (a)", True),
        ("missing in (a)", False),
        ("tier>0", True),
        ("tier<1", False),
        ("missing>0", False),
        ("x.dev/y=", True),
        ("app=vllm,tier=1", True),
        ("app=vllm,tier=2", False),
        ("app in (vllm),!missing,tier>0", True),
        (" app = vllm , tier = 1 ", True),
    ],
)
def test_a_label_selector_matches(text: str, expected: bool) -> None:  # noqa: FBT001
    assert label_predicate(text)(POD) is expected


@pytest.mark.parametrize(
    "text", ["app=vllm,", ",app", "app in a,b", "app in (a", "a b", "=x", "app=>3", "a=b=c"]
)
def test_a_label_selector_nobody_can_read_is_a_bad_request(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        label_predicate(text)
    assert caught.value.code == 400


def test_an_object_without_labels_matches_only_what_asks_for_none() -> None:
    assert label_predicate("!app")({"metadata": {}})
    assert not label_predicate("app")({"metadata": {"labels": None}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metadata.name=a", True),
        ("metadata.name!=a", False),
        ("spec.nodeName=n1,metadata.namespace=n", True),
        ("spec.nodeName=n1,metadata.namespace=m", False),
        ("status.phase=", True),
        ("status.phase!=Running", True),
        ("spec.hostNetwork=false", True),
    ],
)
def test_a_field_selector_matches(text: str, expected: bool) -> None:  # noqa: FBT001
    assert field_predicate(text, ALLOWED)(POD) is expected


@pytest.mark.parametrize("text", ["spec.image=x", "metadata.uid=1", "nonsense"])
def test_a_field_nobody_offers_is_a_bad_request(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        field_predicate(text, ALLOWED)
    assert caught.value.code == 400


def test_all_parts_of_a_request_have_to_match() -> None:
    assert matcher("n", "app=vllm", "metadata.name=a", ALLOWED)(POD)
    assert not matcher("m", "app=vllm", "metadata.name=a", ALLOWED)(POD)
    assert not matcher("n", "app=x", "metadata.name=a", ALLOWED)(POD)
    assert not matcher("n", "app=vllm", "metadata.name=b", ALLOWED)(POD)
    assert matcher("", "", "", ALLOWED)(POD)
