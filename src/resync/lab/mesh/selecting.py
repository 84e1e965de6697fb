"""Which pods an experiment hits: selector, then mode. Pure: pods in, pods out.

Rules of chaos-mesh `pkg/selector/pod/selector.go` and `pkg/selector/generic/mode.go`: non-empty `pods`
overrides every other criterion; empty `namespaces` is the experiment's own (the webhook's default); there
is no phase filter unless one is asked for; namespaces that have not opted in match nothing (the filter is
on in the lab).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, TypeVar

from resync.lab.mesh.errors import NothingSelectedError, SelectorError
from resync.lab.mesh.objects import Choice, Expression, Pod, Selector

T = TypeVar("T")

_FIELDS: Final[Mapping[str, Callable[[Pod], str]]] = {
    "metadata.name": lambda pod: pod.metadata.name,
    "metadata.namespace": lambda pod: pod.metadata.namespace,
    "spec.nodeName": lambda pod: pod.spec.node_name,
    "spec.restartPolicy": lambda pod: pod.spec.restart_policy,
    "spec.schedulerName": lambda pod: pod.spec.scheduler_name,
    "spec.serviceAccountName": lambda pod: pod.spec.service_account_name,
    "status.phase": lambda pod: pod.status.phase,
    "status.podIP": lambda pod: pod.status.pod_ip,
    "status.nominatedNodeName": lambda pod: pod.status.nominated_node_name,
}

_OPERATORS: Final[Mapping[str, Callable[[str | None, tuple[str, ...]], bool]]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
}


def choose(
    choice: Choice, own_namespace: str, pods: Sequence[Pod], opted_in: frozenset[str], dice: Random
) -> tuple[Pod, ...]:
    """The pods this choice hits now.

    Raises NothingSelectedError when that is none, SelectorError for a selector or mode nobody can follow.
    """
    matching = matched(choice.selector, own_namespace, pods, opted_in)
    if not matching:
        raise NothingSelectedError("no pod is selected")
    return draw(choice, matching, dice)


def draw(choice: Choice, candidates: Sequence[T], dice: Random) -> tuple[T, ...]:
    """What the mode takes of the candidates. Raises NothingSelectedError, SelectorError."""
    if not candidates:
        raise NothingSelectedError("cannot generate objects from empty list")
    drawn = tuple(candidates)
    if choice.mode != "all":
        drawn = tuple(dice.sample(drawn, _count(choice, len(drawn), dice)))
    if not drawn:
        raise NothingSelectedError("no target has been selected")
    return drawn


def matched(
    selector: Selector, own_namespace: str, pods: Sequence[Pod], opted_in: frozenset[str]
) -> tuple[Pod, ...]:
    """Every pod the selector matches, by namespace and name. Raises SelectorError."""
    if selector.node_selectors:
        raise SelectorError("the lab has one node: nodeSelectors cannot be followed, leave them out")
    allowed = [pod for pod in pods if pod.metadata.namespace in opted_in]
    test = _named if selector.pods else _criteria
    found = [pod for pod in allowed if test(selector, own_namespace, pod)]
    return tuple(sorted(found, key=lambda pod: pod.metadata.key))


def _named(selector: Selector, _: str, pod: Pod) -> bool:
    return pod.metadata.name in selector.pods.get(pod.metadata.namespace, [])


def _criteria(selector: Selector, own_namespace: str, pod: Pod) -> bool:
    labels = pod.metadata.labels
    return (
        pod.metadata.namespace in (selector.namespaces or (own_namespace,))
        and selector.label_selectors.items() <= labels.items()
        and selector.annotation_selectors.items() <= pod.metadata.annotations.items()
        and all(_expressed(expression, labels) for expression in selector.expression_selectors)
        and all(_field(name, pod) == value for name, value in selector.field_selectors.items())
        and (not selector.nodes or pod.spec.node_name in selector.nodes)
        and _in_phase(selector.pod_phase_selectors, pod.status.phase)
    )


def _expressed(expression: Expression, labels: Mapping[str, str]) -> bool:
    operator = _OPERATORS.get(expression.operator)
    if operator is None:
        known = ", ".join(_OPERATORS)
        raise SelectorError(f"expressionSelectors knows {known}, not {expression.operator!r}")
    return operator(labels.get(expression.key), expression.values)


def _field(name: str, pod: Pod) -> str:
    if name not in _FIELDS:
        raise SelectorError(f"fieldSelectors knows {', '.join(_FIELDS)}, not {name!r}")
    return _FIELDS[name](pod)


def _in_phase(phases: Sequence[str], phase: str) -> bool:
    wanted = [name for name in phases if not name.startswith("!")]
    refused = [name[1:] for name in phases if name.startswith("!")]
    return (not wanted or phase in wanted) and phase not in refused


def _count(choice: Choice, matching: int, dice: Random) -> int:
    match choice.mode:
        case "one":
            return 1
        case "fixed":
            return min(_whole(choice), matching)
        case "fixed-percent":
            return math.ceil(matching * _percent(choice) / 100)
        case "random-max-percent":
            return matching * dice.randint(0, _percent(choice)) // 100
        case unknown:
            raise SelectorError(
                f"mode {unknown!r} is not one of one, all, fixed, fixed-percent, random-max-percent"
            )


def _whole(choice: Choice) -> int:
    value = int(choice.value) if choice.value.isdecimal() else 0
    if value <= 0:
        raise SelectorError(f"value must be greater than 0 with mode:{choice.mode}, got {choice.value!r}")
    return value


def _percent(choice: Choice) -> int:
    value = int(choice.value) if choice.value.isdecimal() else 0
    if not 0 < value <= 100:  # noqa: PLR2004  percent
        raise SelectorError(f"value of {choice.value} is invalid, Must be (0,100] with mode:{choice.mode}")
    return value
