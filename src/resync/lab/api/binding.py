"""Subresources that are actions.

POST to `binding` puts a pod on a node, POST to `eviction` deletes it politely.
"""

from collections.abc import Callable

from resync.lab.api import errors
from resync.lab.api.admitting import WriteOptions
from resync.lab.api.deletion import DeleteOptions
from resync.lab.api.objects import JsonObject, clone, section
from resync.lab.api.targets import Target
from resync.lab.api.verbs import Verbs

_SUCCESS: JsonObject = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Success",
    "code": 201,
}

Action = Callable[[Verbs, Target, JsonObject, WriteOptions], JsonObject]


def bind(verbs: Verbs, target: Target, sent: JsonObject, options: WriteOptions) -> JsonObject:
    """Write spec.nodeName, once. Raises ApiError 404, 409 (already bound), 422."""
    node = section(sent, "target").get("name")
    if not node:
        cause = errors.Cause("FieldValueRequired", "target.name", "Required value")
        raise errors.invalid(target.subject, [cause])
    pod = clone(verbs.get(target).body)
    bound = section(pod, "spec").get("nodeName")
    if bound:
        raise errors.conflict(target.subject, f'pod {target.name} is already assigned to node "{bound}"')
    pod["spec"]["nodeName"] = node
    verbs.commit(target, pod, dry_run=options.dry_run)
    return _SUCCESS


def evict(verbs: Verbs, target: Target, sent: JsonObject, options: WriteOptions) -> JsonObject:
    """Delete the pod; disruption budgets are not served here, so nothing objects.

    Raises ApiError 404, 409.
    """
    asked = section(sent, "deleteOptions")
    grace_s = asked.get("gracePeriodSeconds")
    uid = str(section(asked, "preconditions").get("uid") or "")
    verbs.delete(target, DeleteOptions(grace_s=grace_s, uid=uid, dry_run=options.dry_run))
    return _SUCCESS


POSTED: dict[str, Action] = {"binding": bind, "eviction": evict}
