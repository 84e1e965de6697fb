"""A label selector as text: the form in which a list request asks for it and a table shows it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_TERMS: Mapping[str, Callable[[str, str], str]] = {
    "In": lambda key, values: f"{key} in ({values})",
    "NotIn": lambda key, values: f"{key} notin ({values})",
    "Exists": lambda key, _: key,
    "DoesNotExist": lambda key, _: f"!{key}",
}


def selector_text(selector: Mapping[str, Any]) -> str:
    """`a=b,c in (d,e)` for a LabelSelector object (Kubernetes API, meta/v1); empty for one without terms."""
    equal = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    return ",".join([*equal, *map(_term, selector.get("matchExpressions") or ())])


def _term(expression: Mapping[str, Any]) -> str:
    values: Sequence[str] = expression.get("values") or ()
    return _TERMS[expression["operator"]](expression["key"], ",".join(values))
