"""The `scale` subresource: how many, without knowing of what (Kubernetes API, autoscaling/v1 Scale).

Reading gives a Scale made from the object; writing one changes the object's `spec.replicas` and nothing else.
"""

from collections.abc import Callable

from resync.lab.api import errors
from resync.lab.api.admitting import WriteOptions
from resync.lab.api.errors import Cause
from resync.lab.api.objects import JsonObject, clone, metadata, section
from resync.lab.api.store import Item
from resync.lab.api.targets import Target
from resync.lab.api.verbs import Verbs
from resync.lab.labels import selector_text

SCALE = "scale"
_IDENTITY = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(item: Item) -> JsonObject:
    """The Scale of a stored object."""
    spec, status = section(item.body, "spec"), section(item.body, "status")
    found = section(item.body, "metadata")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {word: found[word] for word in _IDENTITY if word in found},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": selector_text(section(spec, "selector")),
        },
    }


def write(
    verbs: Verbs, target: Target, change: Callable[[JsonObject], JsonObject], options: WriteOptions
) -> JsonObject:
    """The Scale after `change`, a function of the present one. Raises ApiError 404, 409, 422."""
    wanted = change(scale_of(verbs.get(target)))
    replicas = section(wanted, "spec").get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        text = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise errors.invalid(target.subject, [Cause("FieldValueInvalid", "spec.replicas", text)])

    def scaled(current: JsonObject) -> JsonObject:
        new = clone(current)
        new["spec"]["replicas"] = replicas
        metadata(new)["resourceVersion"] = section(wanted, "metadata").get("resourceVersion")
        return new

    plain = Target(target.resource, target.namespace, target.name)
    return scale_of(verbs.patch(plain, scaled, options).item)
