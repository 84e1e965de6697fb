"""What the server itself adds to objects of built-in kinds when they are created.

Values a client finds in every object of the kind on a real cluster (kubernetes/kubernetes, pkg/registry/*/strategy.go);
plain constants are defaults in `kinds/*.yaml`, here is what depends on the object.
"""

from collections.abc import Callable
from random import Random

from resync.lab.api.objects import JsonObject, metadata, name_of, section

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


ON_CREATE: dict[tuple[str, str], Callable[[JsonObject, Random], None]] = {
    ("", "pods"): _pod,
    ("", "namespaces"): _namespace,
    ("", "services"): _service,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
}
