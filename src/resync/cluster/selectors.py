"""Which pods a Chaos Mesh selector means, decided here as the mesh decides it.

The mesh resolves a selector once, at injection; we resolve it before, to refuse what would hit nothing, or
too much. The rules are those of Chaos Mesh `pkg/selector/pod/selector.go` and `phase_selector.go`: a
non-empty `pods` list short-circuits everything else; `nodes` are a union; everything else must hold at once;
empty `namespaces` means the object's own (the admission default). No phase is excluded by default. What we
cannot evaluate exactly is an error: a guess would name the wrong pods.
"""

from collections.abc import Callable, Mapping

import msgspec

from resync.cluster.errors import SelectorError
from resync.cluster.pods import Pod
from resync.kits.reading import read_object


class Expression(msgspec.Struct, frozen=True):
    """One requirement on a label: `operator` is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Selector(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """The selector block of a Chaos Mesh object."""

    namespaces: tuple[str, ...] = ()
    label_selectors: dict[str, str] = {}
    expression_selectors: tuple[Expression, ...] = ()
    annotation_selectors: dict[str, str] = {}
    field_selectors: dict[str, str] = {}
    nodes: tuple[str, ...] = ()
    node_selectors: dict[str, str] = {}
    pods: dict[str, tuple[str, ...]] = {}
    pod_phase_selectors: tuple[str, ...] = ()

    def is_empty(self) -> bool:
        """Whether it says nothing but where to look: every pod of the namespace would be hit."""
        narrowing = msgspec.structs.replace(self, namespaces=())
        return narrowing == Selector()

    def places(self, own_namespace: str) -> tuple[str, ...]:
        """The namespaces to look in."""
        return tuple(self.pods) or self.namespaces or (own_namespace,)

    def __str__(self) -> str:
        """The block as one line of JSON."""
        return msgspec.json.encode(self).decode()


def selector_of(block: object, where: str) -> Selector:
    """The selector in a decoded manifest.

    Raises SelectorError naming `where` and the field that is not understood.
    """
    try:
        return read_object(block, Selector)
    except msgspec.ValidationError as problem:
        raise SelectorError(f"{where}: this selector cannot be evaluated here: {problem}") from problem


_OPERATORS: dict[str, Callable[[Expression, Mapping[str, str]], bool]] = {
    "In": lambda e, labels: labels.get(e.key) in e.values,
    "NotIn": lambda e, labels: labels.get(e.key) not in e.values,
    "Exists": lambda e, labels: e.key in labels,
    "DoesNotExist": lambda e, labels: e.key not in labels,
}
_FIELDS: dict[str, Callable[[Pod], str]] = {
    "metadata.name": lambda pod: pod.name,
    "metadata.namespace": lambda pod: pod.namespace,
    "spec.nodeName": lambda pod: pod.node or "",
    "status.phase": lambda pod: pod.phase,
    "status.podIP": lambda pod: pod.ip or "",
}
_PHASES = frozenset({"Pending", "Running", "Succeeded", "Failed", "Unknown"})


def check(selector: Selector) -> None:
    """Raises SelectorError for anything that this module could not evaluate as the mesh does."""
    if selector.node_selectors:
        raise SelectorError(
            "nodeSelectors need the labels of nodes, which are not read here: name `nodes` instead"
        )
    for expression in selector.expression_selectors:
        _check_expression(expression)
    for field in selector.field_selectors:
        if field not in _FIELDS:
            raise SelectorError(
                f"field selector {field!r} cannot be evaluated here; known: {', '.join(_FIELDS)}"
            )
    for phase in selector.pod_phase_selectors:
        if phase.removeprefix("!") not in _PHASES:
            raise SelectorError(
                f"{phase!r} is not a pod phase; known: {', '.join(sorted(_PHASES))}, each also with !"
            )


def _check_expression(expression: Expression) -> None:
    if expression.operator not in _OPERATORS:
        raise SelectorError(f"operator {expression.operator!r} is not one of {', '.join(_OPERATORS)}")
    if expression.operator in {"In", "NotIn"} and not expression.values:
        raise SelectorError(f"{expression.operator} on {expression.key!r} needs values")


def _holds(wanted: Mapping[str, str], found: Mapping[str, str]) -> bool:
    return all(found.get(key) == value for key, value in wanted.items())


def _phase_holds(wanted: tuple[str, ...], phase: str) -> bool:
    excluded = {name[1:] for name in wanted if name.startswith("!")}
    included = {name for name in wanted if not name.startswith("!")}
    return phase not in excluded and (not included or phase in included)


def matches(selector: Selector, pod: Pod, own_namespace: str) -> bool:
    """Whether the mesh would select that pod. `check` the selector first."""
    if selector.pods:
        return pod.name in selector.pods.get(pod.namespace, ())
    return (
        pod.namespace in selector.places(own_namespace)
        and _holds(selector.label_selectors, pod.labels)
        and _holds(selector.annotation_selectors, pod.annotations)
        and all(_OPERATORS[e.operator](e, pod.labels) for e in selector.expression_selectors)
        and all(_FIELDS[name](pod) == value for name, value in selector.field_selectors.items())
        and (not selector.nodes or pod.node in selector.nodes)
        and _phase_holds(selector.pod_phase_selectors, pod.phase)
    )
