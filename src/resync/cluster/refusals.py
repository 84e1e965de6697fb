"""What a fault manifest may not be, with a sentence for each.

Admission accepts much that the mesh then hangs on: an object that never injects, never expires, or cannot be
deleted. Every rule here is one function of the decoded object that returns the sentence or None; a new rule
is a new function in the table. Sources: Chaos Mesh `api/v1alpha1/*_webhook.go`, `controllers/chaosimpl`, and
the issues named at the rules.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from resync.cluster.durations import parse_s, parse_tc_ms
from resync.cluster.errors import ManifestError
from resync.cluster.kinds import KINDS

Body = Mapping[str, Any]
Refusal = Callable[[Body], str | None]

PAUSE = "experiment.chaos-mesh.org/pause"
MODES = ("one", "all", "fixed", "fixed-percent", "random-max-percent")
NETWORK_ACTIONS = ("netem", "delay", "loss", "duplicate", "corrupt", "partition", "bandwidth")
NETEM_BLOCKS = ("delay", "loss", "duplicate", "corrupt")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_PERCENT_MAX = 100


def check(body: Body) -> None:
    """Raises ManifestError with the first sentence that applies."""
    for rule in (*_SHAPE, *_EVERY_KIND, *_BY_KIND.get(str(body.get("kind")), ())):
        try:
            sentence = rule(body)
        except (AttributeError, TypeError) as problem:
            # A rule walks blocks; one that is a word or a list instead ends up here, whatever the rule.
            raise ManifestError(f"a part of it has the wrong shape: {problem}") from problem
        if sentence is not None:
            raise ManifestError(sentence)


def _kind(body: Body) -> str | None:
    kind = body.get("kind")
    if kind not in KINDS:
        return f"kind {kind!r} is not one of {', '.join(KINDS)}"
    wanted = KINDS[kind].api_version
    return None if body.get("apiVersion") == wanted else f"apiVersion must be {wanted} for {kind}"


def _blocks(body: Body) -> str | None:
    missing = [key for key in ("metadata", "spec") if not isinstance(body.get(key), dict)]
    return f"there is no `{missing[0]}` block" if missing else None


def _name(body: Body) -> str | None:
    name = body["metadata"].get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return (
            f"metadata.name {name!r} is not a Kubernetes name (generateName would hide which fault is ours)"
        )
    return None


def _side_shape(side: object, where: str) -> str | None:
    if not isinstance(side, dict):
        return f"{where} must be a block with `selector` and `mode`"
    if not isinstance(side.get("selector"), dict):
        return f"{where} has no `selector`: it is required"
    if side.get("mode") not in MODES:
        return f"{where}.mode {side.get('mode')!r} is not one of {', '.join(MODES)}"
    return _mode_value(side, where)


def _mode_value(side: Body, where: str) -> str | None:
    mode, value = side["mode"], side.get("value")
    if mode in {"one", "all"}:
        return None
    number = int(value) if isinstance(value, str) and value.isdecimal() else 0
    limit = _PERCENT_MAX if "percent" in mode else number
    return (
        None
        if 0 < number <= limit
        else f"{where}.value {value!r} does not suit mode {mode}: a whole number above 0"
    )


def _source(body: Body) -> str | None:
    return _side_shape(body["spec"], "spec")


def _may_select_nobody(body: Body) -> str | None:
    sides = (body["spec"], body["spec"].get("target") or {})
    if any(side.get("mode") == "random-max-percent" for side in sides):
        return "mode random-max-percent may draw no pod at all, and that proves nothing: use fixed-percent"
    return None


def _duration(body: Body) -> str | None:
    text = body["spec"].get("duration")
    if not isinstance(text, str) or not text:
        return "there is no spec.duration: without one the fault never ends by itself, so it is required here"
    try:
        return None if parse_s(text) > 0 else f"spec.duration {text!r} is over before it begins"
    except ValueError as problem:
        return f"spec.duration {problem}; the mesh would only log that, and never end the fault"


def _paused(body: Body) -> str | None:
    annotations = body["metadata"].get("annotations") or {}
    return (
        f"annotation {PAUSE} would keep the fault from ever being injected" if PAUSE in annotations else None
    )


def _remote(body: Body) -> str | None:
    if body["spec"].get("remoteCluster"):
        return "spec.remoteCluster makes the mesh of this cluster ignore the fault"
    return None


def _scheduled(body: Body) -> str | None:
    if "managed-by" in (body["metadata"].get("labels") or {}):
        return "label `managed-by` belongs to the schedules of Chaos Mesh, which would delete this fault"
    return None


def _action(body: Body) -> str | None:
    action = body["spec"].get("action")
    if action == "reorder":
        return "there is no action `reorder`: it is the `reorder` block inside a delay"
    return (
        None if action in NETWORK_ACTIONS else f"action {action!r} is not one of {', '.join(NETWORK_ACTIONS)}"
    )


def _action_block(body: Body) -> str | None:
    spec = body["spec"]
    action = spec["action"]
    if action == "partition":
        return None
    if action == "netem":
        given = any(isinstance(spec.get(block), dict) for block in (*NETEM_BLOCKS, "rate"))
        return (
            None
            if given
            else "action netem without any of delay, loss, duplicate, corrupt, rate never injects"
        )
    if isinstance(spec.get(action), dict):
        return None
    if action == "bandwidth":
        return "action bandwidth without its block is reported as injected with nothing applied"
    return f"action {action} without its `{action}` block never injects, and then cannot be deleted"


def _foreign_blocks(body: Body) -> str | None:
    spec = body["spec"]
    if spec["action"] == "netem":
        return None
    extra = [block for block in NETEM_BLOCKS if block in spec and block != spec["action"]]
    return (
        f"the `{extra[0]}` block would be applied too, whatever the action says: one fault each"
        if extra
        else None
    )


def _delay(body: Body) -> str | None:
    delay = body["spec"].get("delay")
    if delay is None:
        return None
    if not isinstance(delay.get("latency"), str):
        return "delay.latency is required, as text such as 50ms"
    try:
        latency_ms = parse_tc_ms(delay["latency"])
        parse_tc_ms(delay.get("jitter", "0ms"))
    except (ValueError, TypeError) as problem:
        return f"delay: {problem}"
    return None if latency_ms > 0 else "delay.latency 0 delays nothing"


def _percentages(body: Body) -> str | None:
    spec = body["spec"]
    for block in ("loss", "duplicate", "corrupt"):
        value = spec[block].get(block) if block in spec else "100"
        if not _is_percentage(value, above=0.0):
            return f"{block}.{block} {value!r} is not a percentage above 0 and up to 100, as text"
    for block in NETEM_BLOCKS:
        if not _is_percentage((spec.get(block) or {}).get("correlation", "0")):
            return f"{block}.correlation is not a percentage from 0 to 100, as text"
    return None


def _is_percentage(text: object, above: float = -1.0) -> bool:
    try:
        return isinstance(text, str) and above < float(text) <= _PERCENT_MAX and float(text) >= 0
    except ValueError:
        return False


def _target(body: Body) -> str | None:
    spec = body["spec"]
    target, direction = spec.get("target"), spec.get("direction", "to")
    if direction not in {"to", "from", "both"}:
        return f"direction {direction!r} is not one of to, from, both"
    if target is not None and (sentence := _side_shape(target, "spec.target")):
        return sentence
    if direction == "to" or spec["action"] == "partition":
        return None
    if target is None:
        return f"direction {direction} needs a target"
    if spec.get("externalTargets"):
        return f"externalTargets cannot be combined with direction {direction}"
    return None


def _external(body: Body) -> str | None:
    for text in body["spec"].get("externalTargets") or ():
        try:
            ipaddress.IPv4Network(str(text).rsplit(":", 1)[0], strict=False)
        except ValueError:
            return (
                f"external target {text!r} is not IPv4: a name is resolved once, by the controller, and one"
                " without an IPv4 address makes the fault hit all traffic"
            )
    return None


def _pod_action(body: Body) -> str | None:
    action = body["spec"].get("action")
    if action not in {"pod-kill", "pod-failure", "container-kill"}:
        return f"action {action!r} is not one of pod-kill, pod-failure, container-kill"
    if action == "container-kill" and not body["spec"].get("containerNames"):
        return "action container-kill needs containerNames"
    return None


def _stressors(body: Body) -> str | None:
    spec = body["spec"]
    if spec.get("stressngStressors"):
        return (
            "stressngStressors are reported as injected and never run (Chaos Mesh issue 3783): use stressors"
        )
    stressors = spec.get("stressors") or {}
    workers = [(stressors.get(one) or {}).get("workers", 0) for one in ("cpu", "memory") if one in stressors]
    if not workers:
        return "there are no stressors: give cpu or memory"
    return None if all(workers) else "a stressor with 0 workers is reported as injected and does nothing"


def _time_offset(body: Body) -> str | None:
    offset = body["spec"].get("timeOffset")
    try:
        return (
            None
            if isinstance(offset, str) and parse_s(offset)
            else "timeOffset must be a duration other than 0"
        )
    except ValueError as problem:
        return f"timeOffset {problem}"


_SHAPE: tuple[Refusal, ...] = (_kind, _blocks, _name, _source)
_EVERY_KIND: tuple[Refusal, ...] = (_duration, _paused, _remote, _scheduled)
_BY_KIND: dict[str, tuple[Refusal, ...]] = {
    "NetworkChaos": (
        _action,
        _action_block,
        _foreign_blocks,
        _delay,
        _percentages,
        _target,
        _external,
        _may_select_nobody,
    ),
    "PodChaos": (_pod_action, _may_select_nobody),
    "StressChaos": (_stressors, _may_select_nobody),
    "TimeChaos": (_time_offset, _may_select_nobody),
}
