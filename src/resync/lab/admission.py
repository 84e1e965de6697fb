"""What Chaos Mesh's admission webhooks do to an experiment: fill in, then refuse.

Pure functions, called by the lab's API server; on a cluster the real webhooks do the same. Rules: chaos-mesh,
api/v1alpha1/{common,networkchaos,podchaos}_webhook.go and the generated `ValidateUpdate`.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

JsonObject = dict[str, Any]

RATE = re.compile(r"([0-9]+)(bit|kbit|mbit|gbit|tbit|bps|kbps|mbps|gbps|tbps)")
_DURATION = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_PERCENT_MAX = 100
_PERCENTAGES = {"loss": "loss", "duplicate": "duplicate", "corrupt": "corrupt"}
_PARTITION = "partition"


class RefusedError(Exception):
    """The webhook said no. Nothing was stored; the message is the real webhook's."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f'admission webhook "v{kind.lower()}.kb.io" denied the request: {reason}')
        self.reason = reason


def mutate(kind: str, obj: JsonObject) -> JsonObject:
    """The object with the webhook's defaults in; the one handed in is left alone."""
    fill = _MUTATORS.get(kind)
    spec = obj.get("spec")
    if fill is None or not isinstance(spec, dict):
        return obj
    return {**obj, "spec": fill(spec, str(_part(obj, "metadata").get("namespace") or ""))}


def validate(kind: str, old: JsonObject | None, new: JsonObject) -> None:
    """Accept a creation (`old` is None) or an update. Raises RefusedError."""
    rules = _VALIDATORS.get(kind)
    if rules is None:
        return
    if old is not None and old.get("spec") != new.get("spec"):
        raise RefusedError(kind, "Cannot update chaos spec")
    wrong = next(rules(_part(new, "spec")), None)
    if wrong:
        raise RefusedError(kind, wrong)


def is_duration(text: str) -> bool:
    """Whether Go's time.ParseDuration takes it: `0`, or numbers with units, one after the other."""
    return text in {"0", "+0", "-0"} or _DURATION.fullmatch(text) is not None


def _part(obj: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    found = obj.get(word)
    return found if isinstance(found, dict) else {}


# Defaults ------------------------------------------------------------------------------------------


def _fill_network(spec: JsonObject, namespace: str) -> JsonObject:
    filled = {**spec, "direction": spec.get("direction") or "to"}
    if isinstance(spec.get("device"), str):
        filled["device"] = spec["device"].partition("@")[0]
    _fill_selector(filled, namespace)
    target = spec.get("target")
    if isinstance(target, dict):
        filled["target"] = dict(target)
        _fill_selector(filled["target"], namespace)
    for word in ("delay", *_PERCENTAGES):
        if isinstance(spec.get(word), dict):
            filled[word] = _fill_block(word, spec[word])
    return filled


def _fill_pod(spec: JsonObject, namespace: str) -> JsonObject:
    filled = dict(spec)
    _fill_selector(filled, namespace)
    return filled


def _fill_selector(holder: JsonObject, namespace: str) -> None:
    selector = holder.get("selector")
    if isinstance(selector, dict) and not selector.get("namespaces"):
        holder["selector"] = {**selector, "namespaces": [namespace]}


def _fill_block(word: str, block: JsonObject) -> JsonObject:
    filled = {**block, "correlation": block.get("correlation") or "0"}
    if word == "delay":
        filled["jitter"] = block.get("jitter") or "0ms"
        if isinstance(block.get("reorder"), dict):
            filled["reorder"] = {
                **block["reorder"],
                "correlation": block["reorder"].get("correlation") or "0",
            }
    return filled


# Refusals ------------------------------------------------------------------------------------------


def _network_rules(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from _direction_rules(spec)
    yield from _mode_rules("Spec.PodSelector", spec)
    if isinstance(spec.get("target"), dict):
        yield from _mode_rules("Spec.Target", spec["target"])
    yield from _duration_rules(spec)
    yield from _delay_rules(_part(spec, "delay"))
    for word in _PERCENTAGES:
        yield from _percentage_rules(word, _part(spec, word))
    for word in ("bandwidth", "rate"):
        yield from _rate_rules(word, _part(spec, word))


def _pod_rules(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from _mode_rules("Spec.ContainerSelector.PodSelector", spec)
    yield from _duration_rules(spec)
    if spec.get("action") == "container-kill" and not spec.get("containerNames"):
        yield (
            "Spec.containerNames: Invalid value: null: "
            "the name of container is required on container-kill action"
        )


def _duration_rules(spec: Mapping[str, Any]) -> Iterator[str]:
    duration = spec.get("duration")
    if duration and not is_duration(str(duration)):
        text = f'parse duration field error:time: invalid duration "{duration}"'
        yield f'Spec.Duration: Invalid value: "{duration}": {text}'


def _direction_rules(spec: Mapping[str, Any]) -> Iterator[str]:
    if spec.get("action") == _PARTITION or spec.get("direction", "to") not in {"from", "both"}:
        return
    direction = spec["direction"]
    if spec.get("externalTargets"):
        text = "external targets cannot be used with `from` and `both` direction in netem action yet"
        yield f'Spec.Direction: Invalid value: "{direction}": {text}'
    if spec.get("target") is None:
        text = "`from` and `both` direction cannot be used when targets is empty in netem action"
        yield f'Spec.Direction: Invalid value: "{direction}": {text}'


def _mode_rules(path: str, holder: Mapping[str, Any]) -> Iterator[str]:
    mode = str(holder.get("mode"))
    if mode not in {"fixed", "fixed-percent", "random-max-percent"}:
        return
    value = str(holder.get("value") or "")
    prefix = f'{path}.Value: Invalid value: "{value}": '
    if not re.fullmatch(r"[+-]?[0-9]+", value):
        yield f'{prefix}parse value field error:strconv.Atoi: parsing "{value}": invalid syntax'
    elif mode == "fixed" and int(value) <= 0:
        yield f"{prefix}value must be greater than 0 with mode:{mode}"
    elif mode != "fixed" and not 0 < int(value) <= _PERCENT_MAX:
        yield f"{prefix}value of {int(value)} is invalid, Must be (0,100] with mode:{mode}"


def _delay_rules(delay: Mapping[str, Any]) -> Iterator[str]:
    for word in ("latency", "jitter"):
        text = str(delay.get(word) or "0")
        if not is_duration(text):
            path = f"Spec.TcParameter.Delay.{word.capitalize()}"
            yield f'{path}: Invalid value: "{text}": parse {word} field error:time: invalid duration "{text}"'
    yield from _float_rules("Spec.TcParameter.Delay.Correlation", delay.get("correlation"))
    reorder = _part(delay, "reorder")
    yield from _float_rules("Spec.TcParameter.Delay.Reorder.Reorder", reorder.get("reorder"))
    yield from _float_rules("Spec.TcParameter.Delay.Reorder.Correlation", reorder.get("correlation"))


def _percentage_rules(word: str, block: Mapping[str, Any]) -> Iterator[str]:
    path = f"Spec.TcParameter.{word.capitalize()}"
    yield from _float_rules(f"{path}.{word.capitalize()}", block.get(_PERCENTAGES[word]))
    yield from _float_rules(f"{path}.Correlation", block.get("correlation"))


def _float_rules(path: str, value: object) -> Iterator[str]:
    """No range check: the real webhook accepts "150" and "-3" too."""
    if value is not None and not _is_float(str(value)):
        text = f'parse correlation field error:strconv.ParseFloat: parsing "{value}": invalid syntax'
        yield f'{path}: Invalid value: "{value}": {text}'


def _is_float(text: str) -> bool:
    try:
        number = float(text)
    except ValueError:
        return False
    return text == text.strip() and (math.isfinite(number) or "inf" in text.lower() or "nan" in text.lower())


def _rate_rules(word: str, block: Mapping[str, Any]) -> Iterator[str]:
    rate = block.get("rate")
    if rate is not None and not RATE.fullmatch(str(rate)):
        path = f"Spec.TcParameter.{word.capitalize()}.Rate"
        yield f'{path}: Invalid value: "{rate}": parse rate field error:invalid unit'


_MUTATORS: dict[str, Callable[[JsonObject, str], JsonObject]] = {
    "NetworkChaos": _fill_network,
    "PodChaos": _fill_pod,
}
_VALIDATORS: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "NetworkChaos": _network_rules,
    "PodChaos": _pod_rules,
}
