"""What the server itself adds to objects of built-in kinds when they are created.

Values a client finds in every object of the kind on a real cluster (kubernetes/kubernetes,
pkg/registry/*/strategy.go); plain constants are defaults in `kinds/*.yaml`, here is what depends on the
object.
"""

import re
from collections.abc import Callable, Iterator
from random import Random

from resync.lab.api.errors import Cause
from resync.lab.api.objects import JsonObject, metadata, name_of, section
from resync.lab.api.selectors import label_predicate
from resync.lab.labels import selector_text

_SERVICE_NET = (10, 96)


def _pod(obj: JsonObject, _: Random) -> None:
    spec = obj["spec"] if isinstance(obj.get("spec"), dict) else {}
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        if isinstance(container, dict):
            container.setdefault("imagePullPolicy", _pull_policy(str(container.get("image") or "")))
    obj["status"] = {"phase": "Pending", "qosClass": "BestEffort"}


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in {"", "latest"} else "IfNotPresent"


def _namespace(obj: JsonObject, _: Random) -> None:
    labels = metadata(obj).setdefault("labels", {})
    if isinstance(labels, dict):
        labels["kubernetes.io/metadata.name"] = name_of(obj)
    obj["spec"] = {"finalizers": ["kubernetes"]}
    obj["status"] = {"phase": "Active"}


def _service(obj: JsonObject, dice: Random) -> None:
    spec = obj.setdefault("spec", {})
    if not isinstance(spec, dict) or spec.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP"):
        first, second = _SERVICE_NET
        spec["clusterIP"] = f"{first}.{second}.{dice.randrange(256)}.{dice.randrange(1, 255)}"
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    for port in spec.get("ports") or []:
        if isinstance(port, dict) and "port" in port:
            port.setdefault("targetPort", port["port"])
    obj["status"] = {"loadBalancer": {}}


def _definition(obj: JsonObject, _: Random) -> None:
    spec = section(obj, "spec")
    metadata(obj)["finalizers"] = ["customresourcecleanup.apiextensions.k8s.io"]
    versions = [version for version in spec.get("versions") or [] if isinstance(version, dict)]
    met = {"status": "True", "lastTransitionTime": metadata(obj)["creationTimestamp"]}
    obj["status"] = {
        "conditions": [
            {"type": "NamesAccepted", "reason": "NoConflicts", "message": "no conflicts found", **met},
            {
                "type": "Established",
                "reason": "InitialNamesAccepted",
                "message": "the names are accepted",
                **met,
            },
        ],
        "acceptedNames": spec.get("names") or {},
        "storedVersions": [version.get("name") for version in versions if version.get("storage")],
    }


def _definition_causes(obj: JsonObject) -> Iterator[Cause]:
    spec = section(obj, "spec")
    expected = f"{section(spec, 'names').get('plural')}.{spec.get('group')}"
    if name_of(obj) != expected:
        text = f'Invalid value: "{name_of(obj)}": must be spec.names.plural+"."+spec.group'
        yield Cause("FieldValueInvalid", "metadata.name", text)
    if sum(bool(version.get("storage")) for version in spec["versions"]) != 1:
        text = "Invalid value: must have exactly one version marked as storage version"
        yield Cause("FieldValueInvalid", "spec.versions", text)
    for pattern in _patterns(spec):
        try:
            re.compile(pattern)
        except re.error as error:
            text = f"Invalid value: {pattern!r}: must be a valid regular expression, but isn't: {error}"
            yield Cause("FieldValueInvalid", "spec.versions.schema", text)


def _patterns(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        found = node.get("pattern")
        if isinstance(found, str):
            yield found
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _patterns(part)


def _workload(obj: JsonObject, _: Random) -> None:
    obj["status"] = {} if obj.get("kind") == "Deployment" else {"replicas": 0}


def _workload_causes(obj: JsonObject) -> Iterator[Cause]:
    selector = obj["spec"]["selector"]
    template = obj["spec"]["template"]
    if not selector_text(selector):
        yield Cause("FieldValueInvalid", "spec.selector", "Invalid value: {}: empty selector is invalid")
    elif not label_predicate(selector_text(selector))(template):
        labels = dict(section(section(template, "metadata"), "labels"))
        text = f"Invalid value: {labels}: `selector` does not match template `labels`"
        yield Cause("FieldValueInvalid", "spec.template.metadata.labels", text)


CHECKS: dict[tuple[str, str], Callable[[JsonObject], Iterator[Cause]]] = {
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition_causes,
    ("apps", "deployments"): _workload_causes,
    ("apps", "replicasets"): _workload_causes,
    ("apps", "statefulsets"): _workload_causes,
}
"""What the schema cannot say; asked once the schema is satisfied."""

ON_CREATE: dict[tuple[str, str], Callable[[JsonObject, Random], None]] = {
    ("", "pods"): _pod,
    ("", "namespaces"): _namespace,
    ("", "services"): _service,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
    ("apps", "deployments"): _workload,
    ("apps", "replicasets"): _workload,
    ("apps", "statefulsets"): _workload,
}
