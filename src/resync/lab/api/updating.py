"""The rules of an update: what is compared first, what a client may change, and what follows from a change.

kubernetes/apiserver, pkg/registry/rest/update.go and the strategies of each kind.
"""

from resync.lab.api import errors
from resync.lab.api.deletion import DeleteOptions
from resync.lab.api.errors import Cause
from resync.lab.api.objects import JsonObject, clone, finalizers, is_terminating, metadata, section, uid_of
from resync.lab.api.resources import Resource
from resync.lab.api.targets import Target

_IMMUTABLE = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)
_POD_SPEC_MUTABLE = frozenset({"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"})
_POD_SPEC_FROZEN = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)
_CONTAINERS = ("containers", "initContainers")


def incoming(target: Target, sent: JsonObject) -> JsonObject:
    """A copy of what a client sent, in the stored form, with the namespace of the URL.

    Raises ApiError 400.
    """
    resource = target.resource
    new = clone(sent)
    _require_kind(resource, new)
    for ours, theirs in resource.renames.items():
        if theirs in new:
            new[ours] = new.pop(theirs)
    new["kind"], new["apiVersion"] = resource.kind, stored_api_version(resource)
    if not isinstance(new.get("metadata", {}), dict):
        raise errors.bad_request("metadata must be an object")
    found = metadata(new)
    if resource.namespaced:
        _require_same("namespace", found.setdefault("namespace", target.namespace), target.namespace)
    else:
        found.pop("namespace", None)
    if target.name:
        _require_same("name", found.setdefault("name", target.name), target.name)
    return new


def stored_api_version(resource: Resource) -> str:
    """The apiVersion objects are stored under: their own, but for a kind seen through two groups."""
    return "v1" if resource.renames else resource.api_version


def _require_kind(resource: Resource, new: JsonObject) -> None:
    for word, expected in (("kind", resource.kind), ("apiVersion", resource.api_version)):
        found = new.get(word)
        if found and found not in {expected, stored_api_version(resource)}:
            raise errors.bad_request(
                f"the {word} in the data ({found}) does not match the expected {word} ({expected}) of the URL"
            )


def _require_same(word: str, found: object, expected: str) -> None:
    if found != expected:
        raise errors.bad_request(
            f"the {word} of the provided object ({found}) does not match the {word} sent on the request "
            f"({expected})"
        )


def check_preconditions(target: Target, current: JsonObject, new: JsonObject) -> None:
    """Uid and resourceVersion, where the client sent them, must be those of the stored object.

    Raises ApiError 409.
    """
    sent, stored = metadata(new), section(current, "metadata")
    _check_uid(target, str(sent.get("uid") or ""), current)
    if sent.get("resourceVersion") and str(sent["resourceVersion"]) != stored["resourceVersion"]:
        raise errors.modified(target.subject)


def check_deletion(target: Target, current: JsonObject, options: DeleteOptions) -> None:
    """The preconditions of a deletion. Raises ApiError 409."""
    _check_uid(target, options.uid, current)
    version = section(current, "metadata")["resourceVersion"]
    if options.version and options.version != version:
        raise errors.conflict(
            target.subject,
            "Precondition failed: ResourceVersion in precondition: "
            f"{options.version}, ResourceVersion in object meta: {version}",
        )


def _check_uid(target: Target, asked: str, current: JsonObject) -> None:
    if asked and asked != uid_of(current):
        raise errors.conflict(
            target.subject,
            f"Precondition failed: UID in precondition: {asked}, UID in object meta: {uid_of(current)}",
        )


def combined(target: Target, current: JsonObject, sent: JsonObject) -> JsonObject:
    """What the write makes of the stored object: a path writes its own part, the server's metadata stays."""
    if target.subresource == "status":
        new = clone(current)
        _take(new, sent, "status")
        return new
    new = sent
    if target.subresource == "finalize":
        new = clone(current)
        _take(new, sent, "spec")
    elif target.resource.has_status:
        _take(new, clone(current), "status")
    found, stored = metadata(new), section(current, "metadata")
    for word in (*_IMMUTABLE, "resourceVersion"):
        found.pop(word, None)
        if word in stored:
            found[word] = stored[word]
    return new


def _take(new: JsonObject, source: JsonObject, word: str) -> None:
    if word in source:
        new[word] = source[word]
    else:
        new.pop(word, None)


def check_rules(target: Target, current: JsonObject, new: JsonObject) -> None:
    """What may not change although the schema allows it. Raises ApiError 422."""
    causes = []
    added = set(finalizers(new)) - set(finalizers(current))
    if is_terminating(current) and added:
        text = (
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
        )
        causes.append(Cause("FieldValueForbidden", "metadata.finalizers", f"{text}{sorted(added)}"))
    if target.resource.stored_as == ("", "pods") and _frozen_pod(current) != _frozen_pod(new):
        causes.append(Cause("FieldValueForbidden", "spec", _POD_SPEC_FROZEN))
    if target.resource.group == "apps" and current["spec"]["selector"] != new["spec"]["selector"]:
        text = f"Invalid value: {new['spec']['selector']}: field is immutable"
        causes.append(Cause("FieldValueInvalid", "spec.selector", text))
    if causes:
        raise errors.invalid(target.subject, causes)


def _frozen_pod(obj: JsonObject) -> JsonObject:
    spec = {word: value for word, value in section(obj, "spec").items() if word not in _POD_SPEC_MUTABLE}
    for word in _CONTAINERS:
        spec[word] = [{**container, "image": ""} for container in spec.get(word) or []]
    return spec


def raise_generation(resource: Resource, current: JsonObject, new: JsonObject) -> None:
    """metadata.generation counts changes of what the object asks for.

    A custom resource without a status path counts its status too: the server cannot tell the two apart.
    """
    if resource.generation == "none":
        return
    if _asked(resource, current) != _asked(resource, new):
        found = metadata(new)
        found["generation"] = int(found.get("generation") or 0) + 1


def _asked(resource: Resource, obj: JsonObject) -> JsonObject:
    if not resource.custom:
        return {"spec": obj.get("spec")}
    aside = {"metadata", "status"} if resource.has_status else {"metadata"}
    return {word: value for word, value in obj.items() if word not in aside}
