"""Selectors are written, never interpolated."""

import pytest

from resync.metrics.errors import AccessError
from resync.metrics.selectors import selector


def test_labels_are_quoted_and_ordered() -> None:
    assert selector("up") == "up"
    assert (
        selector("vllm:x_total", pod_key="default/a", kind="m")
        == 'vllm:x_total{kind="m",pod_key="default/a"}'
    )
    assert selector("up", a='"\\\n') == 'up{a="\\"\\\\\\n"}'


@pytest.mark.parametrize(("name", "labels"), [("a b", {}), ("", {}), ("up", {"a-b": "x"}), ("1up", {})])
def test_what_can_be_no_name_is_refused(name: str, labels: dict[str, str]) -> None:
    with pytest.raises(AccessError, match="is not a"):
        selector(name, **labels)
