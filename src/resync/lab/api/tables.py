"""Table output: what `kubectl get` prints (Kubernetes documentation, "Receiving resources as Tables")."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from resync.lab.api.objects import JsonObject, metadata, parse_timestamp, section
from resync.lab.api.resources import Column, Resource
from resync.lab.labels import selector_text

_NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
_AGE = Column("Age", kind="date", path=".metadata.creationTimestamp")


def table(
    resource: Resource, items: Iterable[JsonObject], version: str, now_s: float, include: str
) -> JsonObject:
    """The Table of these objects; `include` says what each row carries: None, Metadata or Object."""
    columns = (_NAME, *(resource.columns or (_AGE,)))
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [_row(columns, item, now_s, include) for item in items],
    }


def _definition(column: Column) -> JsonObject:
    return {
        "name": column.name,
        "type": "string" if column.kind == "date" else column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _row(columns: Iterable[Column], item: JsonObject, now_s: float, include: str) -> JsonObject:
    row: JsonObject = {"cells": [_cell(column, item, now_s) for column in columns]}
    if include == "Object":
        row["object"] = item
    elif include != "None":
        row["object"] = partial(item)
    return row


def partial(item: JsonObject) -> JsonObject:
    """The object's metadata alone, as clients that only count or own objects ask for it."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata(item)}


def _cell(column: Column, item: JsonObject, now_s: float) -> object:
    if column is _NAME:
        return metadata(item).get("name")
    if column.computed:
        return _COMPUTED[column.computed](item, now_s)
    value = read_path(item, column.path)
    if column.kind == "date":
        return age(str(value), now_s) if value else "<unknown>"
    return value if value is not None or column.kind != "string" else ""


def read_path(item: object, path: str) -> object:
    r"""The value at a simple JSONPath, None when there is none.

    Understood: `.a.b`, `.a[0].b`, `.metadata.annotations.x\.y`, `.a[?(@.type=="T")].b`.
    """
    here: Any = item
    for dotted, index, key, value in _STEP.findall(path):
        if dotted:
            here = here.get(dotted.replace("\\.", ".")) if isinstance(here, Mapping) else None
        elif not isinstance(here, list):
            return None
        elif key:
            here = next(
                (part for part in here if isinstance(part, dict) and str(part.get(key)) == value), None
            )
        else:
            here = here[int(index)] if int(index) < len(here) else None
    return here


_STEP = re.compile(r"""\.((?:\\.|[^.\[\]\\])+)|\[(\d+)\]|\[\?\(@\.([^=!\s]+)\s*==\s*['"]([^'"]*)['"]\)\]""")


# Age ------------------------------------------------------------------------------------------

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_YEAR_S = 365 * _DAY_S


def age(created: str, now_s: float) -> str:
    """How long ago, in the form kubectl prints: 45s, 2m10s, 15m, 3h5m, 2d4h, 12d, 1y20d."""
    try:
        seconds = int(now_s - parse_timestamp(created))
    except ValueError:
        return "<invalid>"
    if seconds < 0:
        return "0s" if seconds > -_MINUTE_S else "<invalid>"
    return next(form(seconds) for limit, form in _AGES if seconds < limit)


def _two(big_s: int, big: str, small_s: int, small: str) -> Callable[[int], str]:
    def form(seconds: int) -> str:
        rest = seconds % big_s // small_s
        return f"{seconds // big_s}{big}" + (f"{rest}{small}" if rest else "")

    return form


_AGES: tuple[tuple[float, Callable[[int], str]], ...] = (
    (2 * _MINUTE_S, lambda seconds: f"{seconds}s"),
    (10 * _MINUTE_S, _two(_MINUTE_S, "m", 1, "s")),
    (3 * _HOUR_S, lambda seconds: f"{seconds // _MINUTE_S}m"),
    (8 * _HOUR_S, _two(_HOUR_S, "h", _MINUTE_S, "m")),
    (2 * _DAY_S, lambda seconds: f"{seconds // _HOUR_S}h"),
    (8 * _DAY_S, _two(_DAY_S, "d", _HOUR_S, "h")),
    (2 * _YEAR_S, lambda seconds: f"{seconds // _DAY_S}d"),
    (8 * _YEAR_S, _two(_YEAR_S, "y", _DAY_S, "d")),
    (float("inf"), lambda seconds: f"{seconds // _YEAR_S}y"),
)


# Columns that are more than one field --------------------------------------------------------------


def _container_statuses(pod: JsonObject) -> list[JsonObject]:
    return list(section(pod, "status").get("containerStatuses") or [])


def _pod_ready(pod: JsonObject, _: float) -> str:
    ready = sum(bool(status.get("ready")) for status in _container_statuses(pod))
    return f"{ready}/{len(section(pod, 'spec').get('containers') or [])}"


def _pod_status(pod: JsonObject, _: float) -> str:
    if metadata(pod).get("deletionTimestamp"):
        return "Terminating"
    status = section(pod, "status")
    shown = str(status.get("reason") or status.get("phase") or "Unknown")
    for container in reversed(_container_statuses(pod)):
        state = section(container, "state")
        reason = section(state, "waiting").get("reason") or section(state, "terminated").get("reason")
        shown = str(reason) if reason else shown
    return shown


def _pod_restarts(pod: JsonObject, _: float) -> str:
    return str(sum(int(status.get("restartCount") or 0) for status in _container_statuses(pod)))


def _node_status(node: JsonObject, _: float) -> str:
    conditions = section(node, "status").get("conditions") or []
    ready = [condition.get("status") for condition in conditions if condition.get("type") == "Ready"]
    shown = "Unknown" if not ready else "Ready" if ready[0] == "True" else "NotReady"
    return shown + (",SchedulingDisabled" if section(node, "spec").get("unschedulable") else "")


def _service_ports(service: JsonObject, _: float) -> str:
    ports = section(service, "spec").get("ports") or []
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>"


def _endpoint_addresses(endpoints: JsonObject, _: float) -> str:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in endpoints.get("subsets") or []
        for address in subset.get("addresses") or []
        for port in subset.get("ports") or []
    ]
    return ",".join(found) or "<none>"


def _status_count(word: str) -> Callable[[JsonObject, float], object]:
    return lambda workload, _: section(workload, "status").get(word) or 0


def _deployment_ready(deployment: JsonObject, _: float) -> str:
    ready = section(deployment, "status").get("readyReplicas") or 0
    return f"{ready}/{section(deployment, 'spec').get('replicas')}"


def _template(word: str) -> Callable[[JsonObject, float], object]:
    def column(workload: JsonObject, _: float) -> str:
        containers = workload["spec"]["template"]["spec"]["containers"]
        return ",".join(str(container[word]) for container in containers)

    return column


def _label_selector(workload: JsonObject, _: float) -> str:
    return selector_text(section(section(workload, "spec"), "selector"))


def _data_count(config: JsonObject, _: float) -> int:
    return len(section(config, "data")) + len(section(config, "binaryData"))


def _event_age(event: JsonObject, now_s: float) -> str:
    seen = event.get("lastTimestamp") or event.get("firstTimestamp") or event.get("eventTime")
    return age(str(seen), now_s) if seen else age(str(metadata(event).get("creationTimestamp")), now_s)


def _event_object(event: JsonObject, _: float) -> str:
    about = section(event, "involvedObject")
    return f"{str(about.get('kind') or '').lower()}/{about.get('name')}"


_COMPUTED: dict[str, Callable[[JsonObject, float], object]] = {
    "pod_ready": _pod_ready,
    "pod_status": _pod_status,
    "pod_restarts": _pod_restarts,
    "node_status": _node_status,
    "service_ports": _service_ports,
    "endpoint_addresses": _endpoint_addresses,
    "data_count": _data_count,
    "replicas": _status_count("replicas"),
    "ready_replicas": _status_count("readyReplicas"),
    "updated_replicas": _status_count("updatedReplicas"),
    "available_replicas": _status_count("availableReplicas"),
    "deployment_ready": _deployment_ready,
    "template_containers": _template("name"),
    "template_images": _template("image"),
    "label_selector": _label_selector,
    "event_age": _event_age,
    "event_object": _event_object,
}
