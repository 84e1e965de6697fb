"""The settings of one experiment.

One table, from which come the environment names, the defaults and the parser.

Chaos Toolkit resolves `{"type": "env", "key": ..., "default": ...}` before any control runs, and substitutes
`${name}` after. So the environment wins, a `--var` comes next, and the control fills in what neither gave,
because only it knows the target. Values stay text in the experiment (`50ms`, `20s`), as in a Chaos Mesh
manifest, and become numbers here, once.
"""

import math
import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, get_args

import msgspec

from resync.kits.reading import read_object
from resync.run.errors import SettingsError

Direction = Literal["to", "from", "both"]


class Target(StrEnum):
    """Where a run happens."""

    LAB = "lab"
    CLUSTER = "cluster"


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """By which pods requests come in, and at which port."""

    namespace: str
    selector: str
    port: int


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment's settings, parsed. Written whole into the evidence, so it holds no secret."""

    kubeconfig: str
    prometheus_url: str
    namespace: str
    gateway_namespace: str
    gateway_selector: str
    engine_selector: str
    prometheus_namespace: str
    prometheus_selector: str
    latency_ms: float
    jitter_ms: float
    direction: Direction
    fault_duration_s: float
    fault_duration_limit_s: float
    targets_max: int
    scrape_interval_limit_s: float
    baseline_s: float
    guard_s: float
    event_age_slack_ms: float
    staleness_limit_s: float
    staleness_limit_blocks: int
    convergence_limit_s: float
    restart_limit_s: float
    mesh_limit_s: float
    inject_limit_s: float
    heal_limit_s: float
    steady_limit_s: float
    control_limit_s: float
    control_age_limit_s: float
    routed_share_min: float
    removed_floor: int
    shared_floor: int
    routed_floor: int
    missed_floor: int
    load_selector: str
    surge_rate: float
    surge_prefix_share: float
    apply_latency_limit_ms: float
    applied_rate_min: float
    request_error_share_max: float
    front: Front
    audit_prompts: int
    audit_floor: int


_UNITS_MS = {"ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0, "": 1000.0}


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 50ms, 20s or 5m")
    return float(match[1]) * _UNITS_MS[match[2] or ""]


def _seconds(text: str) -> float:
    return _milliseconds(text) / 1000


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(f"{text!r} is below 0")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(f"{text!r} is not between 0 and 1")
    return number


def _rate(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(f"{text!r} is not a number above 0 (a second)")
    return number


def _direction(text: str) -> str:
    if text not in get_args(Direction):
        raise ValueError(f"{text!r} is not one of to, from, both")
    return text


def _front(text: str) -> Front:
    match = re.fullmatch(r"([^/]+)/(.+=.+):(\d+)", text)
    if match is None:
        raise ValueError(f"{text!r} is not of the form NAMESPACE/LABEL=VALUE:PORT")
    return Front(namespace=match[1], selector=match[2], port=int(match[3]))


@dataclass(frozen=True, slots=True)
class Field:
    """One setting.

    Its name in `configuration`, its environment variable, its default per target, what it parses to.
    """

    key: str
    attribute: str
    parse: Callable[[str], object]
    lab: str
    cluster: str

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return f"RESYNC_{self.key.upper()}"

    def default(self, target: Target) -> str:
        """The value when nobody says otherwise."""
        return self.lab if target is Target.LAB else self.cluster


def _same(key: str, attribute: str, parse: Callable[[str], object], default: str) -> Field:
    return Field(key, attribute, parse, default, default)


FIELDS: tuple[Field, ...] = (
    _same("kubeconfig", "kubeconfig", str, ""),
    _same("prometheus_url", "prometheus_url", str, ""),
    _same("namespace", "namespace", str, "default"),
    Field("gateway_namespace", "gateway_namespace", str, "default", "aibrix-system"),
    _same("gateway_selector", "gateway_selector", str, "app=gateway-plugins"),
    Field("engine_selector", "engine_selector", str, "app=vllm", "model.aibrix.ai/kv-events-enabled=true"),
    Field("prometheus_namespace", "prometheus_namespace", str, "default", "monitoring"),
    Field(
        "prometheus_selector",
        "prometheus_selector",
        str,
        "app=prometheus",
        "app.kubernetes.io/name=prometheus",
    ),
    _same("latency", "latency_ms", _milliseconds, "50ms"),
    _same("jitter", "jitter_ms", _milliseconds, "10ms"),
    _same("direction", "direction", _direction, "both"),
    Field("fault_duration", "fault_duration_s", _seconds, "20s", "5m"),
    Field("fault_duration_limit", "fault_duration_limit_s", _seconds, "60s", "15m"),
    _same("targets_max", "targets_max", _count, "10"),
    Field("scrape_interval_limit", "scrape_interval_limit_s", _seconds, "1s", "15s"),
    Field("baseline", "baseline_s", _seconds, "2s", "60s"),
    Field("guard", "guard_s", _seconds, "500ms", "5s"),
    _same("event_age_slack", "event_age_slack_ms", _milliseconds, "200ms"),
    Field("staleness_limit", "staleness_limit_s", _seconds, "2s", "20s"),
    # An engine of the lab holds 400 blocks. Under 50 ms a gateway was up to 46 behind (one or two requests);
    # one that stands still is 200 behind after 2.4 s.
    Field("staleness_limit_blocks", "staleness_limit_blocks", _count, "200", "1000"),
    Field("convergence_limit", "convergence_limit_s", _seconds, "10s", "60s"),
    # A lab's engine is back in a second, a real one loads its model first.
    Field("restart_limit", "restart_limit_s", _seconds, "10s", "10m"),
    Field("mesh_limit", "mesh_limit_s", _seconds, "5s", "15s"),
    Field("inject_limit", "inject_limit_s", _seconds, "15s", "60s"),
    Field("heal_limit", "heal_limit_s", _seconds, "5s", "60s"),
    Field("steady_limit", "steady_limit_s", _seconds, "12s", "120s"),
    Field("control_limit", "control_limit_s", _seconds, "20s", "60s"),
    _same("control_age_limit", "control_age_limit_s", _seconds, "3h"),
    _same("routed_share_min", "routed_share_min", _share, "0.9"),
    _same("removed_floor", "removed_floor", _count, "200"),
    _same("shared_floor", "shared_floor", _count, "20"),
    _same("routed_floor", "routed_floor", _count, "50"),
    _same("missed_floor", "missed_floor", _count, "8"),
    _same("load_selector", "load_selector", str, "app=resync-load"),
    _same("surge_rate", "surge_rate", _rate, "60"),
    _same("surge_prefix_share", "surge_prefix_share", _share, "0.8"),
    _same("apply_latency_limit", "apply_latency_limit_ms", _milliseconds, "50ms"),
    _same("applied_rate_min", "applied_rate_min", _rate, "100"),
    _same("request_error_share_max", "request_error_share_max", _share, "0.01"),
    # On AIBrix requests come in by the Envoy in front of it.
    Field(
        "front",
        "front",
        _front,
        "default/app=gateway-plugins:8080",
        "envoy-gateway-system/gateway.envoyproxy.io/owning-gateway-name=aibrix-eg:10080",
    ),
    _same("audit_prompts", "audit_prompts", _count, "20"),
    _same("audit_floor", "audit_floor", _count, "12"),
)

FLOOR_WINDOW_S = 20.0
"""The floors are stated for a fault window of this length and scale with the real one."""

FLOOR_MIN_SHARE = 0.1
"""However short the window, a floor never falls below this share of its stated value."""


def scaled_floor(floor: int, window_s: float) -> int:
    """`floor`, stated for 20 s, for a window of `window_s`; never below a tenth of it, never above it."""
    share = min(1.0, max(FLOOR_MIN_SHARE, window_s / FLOOR_WINDOW_S))
    return max(1, round(floor * share)) if floor else 0


def tolerances(settings: Settings) -> dict[str, list[float]]:
    """The tolerances of the steady state, as ranges that hypothesis probes name by `${...}`.

    Chaos Toolkit allows no `${...}` inside a range, so the ranges are whole values of the configuration, and
    the control replaces what the file says by what the settings say.
    """
    return {
        "steady_event_age_ms": [0.0, settings.event_age_slack_ms],
        "steady_staleness_s": [0.0, settings.staleness_limit_s],
        "steady_routed_share": [settings.routed_share_min, 1.5],
    }


def declared(target: Target = Target.LAB) -> dict[str, object]:
    """What an experiment's `configuration` block has to say."""
    entries = {f.key: {"type": "env", "key": f.env, "default": f.default(target)} for f in FIELDS}
    return {**entries, **tolerances(parse({}))}


def fill(
    configuration: MutableMapping[str, Any],
    *,
    declaration: Mapping[str, Any],
    known: Mapping[str, str],
    target: Target,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Write into `configuration` what neither the environment nor `--var` gave.

    `known` holds what only the lab can say (its kubeconfig, its Prometheus); `declaration` is the
    experiment's own configuration block, so a value that differs from the declared default was given on the
    command line and stays.
    """
    for field in FIELDS:
        if environment.get(field.env) or _given(configuration, declaration, field.key):
            continue
        configuration[field.key] = known.get(field.key, _default(field, declaration, target))


ON_CLUSTER = "default_on_cluster"
"""Beside `default` in an experiment's declaration: what it is on a cluster, where that differs."""


def _default(field: Field, declaration: Mapping[str, Any], target: Target) -> str:
    """What the experiment itself declares for that target, else what holds for all of them."""
    entry = declaration.get(field.key)
    said = entry if isinstance(entry, dict) else {}
    own = said.get("default" if target is Target.LAB else ON_CLUSTER)
    return str(own) if own else field.default(target)


def _given(configuration: Mapping[str, Any], declaration: Mapping[str, Any], key: str) -> bool:
    entry = declaration.get(key)
    if key not in configuration or entry is None:
        return False
    default = entry.get("default", "") if isinstance(entry, dict) else entry
    return str(configuration[key]) not in {str(default), ""}


def parse(configuration: Mapping[str, Any]) -> Settings:
    """The settings in `configuration` (text or numbers by key), defaults of the lab for what it lacks.

    Raises SettingsError naming the variable of the first value without a meaning.
    """
    values = {field.attribute: _parsed(field, configuration.get(field.key, field.lab)) for field in FIELDS}
    return read_object(values, Settings)


def _parsed(field: Field, value: object) -> object:
    try:
        return field.parse(str(value))
    except ValueError as error:
        raise SettingsError(
            f"{field.env} (configuration {field.key!r}): {error}",
            next_step=f"correct {field.env} and run again",
        ) from error
