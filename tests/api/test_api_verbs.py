"""What the verbs mean, in virtual time and without HTTP."""

from typing import Any

import pytest

from resync.kits.clocks import ManualClock
from resync.lab.api.admitting import WriteOptions
from resync.lab.api.deletion import DeleteOptions
from resync.lab.api.errors import ApiError
from resync.lab.api.objects import JsonObject, clone
from resync.lab.api.patches import merge
from resync.lab.api.targets import Target, parse_path
from resync.lab.api.verbs import Verbs

PLAIN = WriteOptions()
CHAOS: JsonObject = {
    "metadata": {"name": "d"},
    "spec": {"action": "delay", "mode": "all", "selector": {}, "delay": {"latency": "50ms"}},
}
STATUS = {"experiment": {"desiredPhase": "Run"}}


def _at(verbs: Verbs, path: str) -> Target:
    found = parse_path(path, verbs.catalogue)
    assert found is not None
    return found


def _pods(verbs: Verbs, name: str = "", sub: str = "") -> Target:
    tail = "".join(f"/{part}" for part in (name, sub) if part)
    return _at(verbs, f"/api/v1/namespaces/default/pods{tail}")


def _chaos(verbs: Verbs, name: str = "", plural: str = "networkchaos") -> Target:
    return _at(
        verbs, f"/apis/chaos-mesh.org/v1alpha1/namespaces/default/{plural}" + (f"/{name}" if name else "")
    )


def _pod(name: str = "a", **metadata: Any) -> JsonObject:
    return {"metadata": {"name": name, **metadata}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def _merge(verbs: Verbs, target: Target, patch: JsonObject) -> JsonObject:
    return verbs.patch(target, lambda current: merge(current, patch), PLAIN).item.body


def _refused(code: int, call: Any, *args: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*args)
    assert caught.value.code == code, caught.value
    return caught.value


def _bound(verbs: Verbs, name: str = "a") -> None:
    verbs.create(_pods(verbs), _pod(name), PLAIN)
    pod = clone(verbs.get(_pods(verbs, name)).body)
    pod["spec"]["nodeName"] = "n1"
    verbs.commit(_pods(verbs, name), pod, dry_run=False)


# Creating


def test_a_created_object_gets_what_only_the_server_gives(verbs: Verbs, clock: ManualClock) -> None:
    body = verbs.create(_pods(verbs), _pod(uid="mine", generation=9, deletionTimestamp="x"), PLAIN).item.body
    found = body["metadata"]
    assert found["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert (found["namespace"], found["generation"]) == ("default", 1)
    assert found["uid"] != "mine"
    assert "deletionTimestamp" not in found
    assert body["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert body["spec"]["restartPolicy"] == "Always"
    assert clock.wall_s() == 1_700_000_000.0


def test_a_taken_name_a_missing_namespace_and_a_given_version_are_refused(verbs: Verbs) -> None:
    verbs.create(_pods(verbs), _pod(), PLAIN)
    assert _refused(409, verbs.create, _pods(verbs), _pod(), PLAIN).reason == "AlreadyExists"
    elsewhere = _at(verbs, "/api/v1/namespaces/nowhere/pods")
    assert 'namespaces "nowhere" not found' in _refused(404, verbs.create, elsewhere, _pod(), PLAIN).message
    _refused(400, verbs.create, _pods(verbs), _pod("b", resourceVersion="1"), PLAIN)
    _refused(400, verbs.create, _pods(verbs), _pod("b", namespace="other"), PLAIN)
    _refused(400, verbs.create, _pods(verbs), {**_pod("b"), "kind": "Service"}, PLAIN)


def test_a_generated_name_is_new_each_time(verbs: Verbs) -> None:
    names = set()
    for _ in range(20):
        body = {**_pod(), "metadata": {"generateName": "g-"}}
        names.add(verbs.create(_pods(verbs), body, PLAIN).item.body["metadata"]["name"])
    assert len(names) == 20
    assert all(name.startswith("g-") for name in names)


@pytest.mark.parametrize("name", ["Upper", "-a", "a..b", "", "a" * 254, "a_b"])
def test_a_name_no_url_can_hold_is_refused(verbs: Verbs, name: str) -> None:
    assert _refused(422, verbs.create, _pods(verbs), _pod(name), PLAIN).causes[0].path == "metadata.name"


def test_labels_are_strings(verbs: Verbs) -> None:
    _refused(422, verbs.create, _pods(verbs), _pod(labels={"a": 1}), PLAIN)
    _refused(422, verbs.create, _pods(verbs), _pod(labels={"a": "not a label!"}), PLAIN)


def test_a_dry_run_says_what_would_be_and_writes_nothing(verbs: Verbs) -> None:
    version = verbs.store.version
    dry = WriteOptions(dry_run=True)
    assert verbs.create(_pods(verbs), _pod(), dry).item.body["status"]["phase"] == "Pending"
    assert verbs.store.version == version
    verbs.create(_pods(verbs), _pod(), PLAIN)
    version = verbs.store.version
    verbs.patch(_pods(verbs, "a"), lambda body: merge(body, {"metadata": {"labels": {"x": "y"}}}), dry)
    verbs.delete(_pods(verbs, "a"), DeleteOptions(dry_run=True))
    assert verbs.store.version == version
    assert "labels" not in verbs.get(_pods(verbs, "a")).body["metadata"]


# Changing


def test_a_write_that_changes_nothing_is_no_write(verbs: Verbs) -> None:
    before = verbs.create(_pods(verbs), _pod(labels={"a": "b"}), PLAIN).item
    _merge(verbs, _pods(verbs, "a"), {"metadata": {"labels": {"a": "b"}}})
    assert verbs.get(_pods(verbs, "a")) is before


def test_a_write_based_on_an_old_version_is_a_conflict(verbs: Verbs) -> None:
    first = clone(verbs.create(_pods(verbs), _pod(), PLAIN).item.body)
    _merge(verbs, _pods(verbs, "a"), {"metadata": {"labels": {"a": "b"}}})
    assert _refused(409, verbs.update, _pods(verbs, "a"), first, PLAIN).reason == "Conflict"
    patch = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"], "labels": {"a": "c"}}}
    _refused(409, _merge, verbs, _pods(verbs, "a"), patch)
    _refused(409, _merge, verbs, _pods(verbs, "a"), {"metadata": {"uid": "other"}})


def test_some_kinds_insist_on_a_version_and_others_do_not(verbs: Verbs) -> None:
    verbs.create(_pods(verbs), _pod(), PLAIN)
    stored = clone(verbs.get(_pods(verbs, "a")).body)
    del stored["metadata"]["resourceVersion"]
    stored["metadata"]["labels"] = {"a": "b"}
    verbs.update(_pods(verbs, "a"), stored, PLAIN)
    verbs.create(_chaos(verbs), CHAOS, PLAIN)
    error = _refused(422, verbs.update, _chaos(verbs, "d"), CHAOS, PLAIN)
    assert error.causes[0].path == "metadata.resourceVersion"


def test_a_put_creates_a_lease_but_no_pod(verbs: Verbs) -> None:
    lease = _at(verbs, "/apis/coordination.k8s.io/v1/namespaces/default/leases/l")
    assert verbs.update(lease, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}}, PLAIN).created
    _refused(404, verbs.update, _pods(verbs, "a"), _pod(), PLAIN)


def test_what_the_server_gave_cannot_be_changed(verbs: Verbs) -> None:
    before = verbs.create(_pods(verbs), _pod(), PLAIN).item.body["metadata"]
    sent = {
        "metadata": {"creationTimestamp": "2000-01-01T00:00:00Z", "generation": 7, "deletionTimestamp": "x"}
    }
    assert _merge(verbs, _pods(verbs, "a"), sent)["metadata"] == before


def test_status_has_its_own_path(verbs: Verbs) -> None:
    verbs.create(_pods(verbs), _pod(), PLAIN)
    patch = {"status": {"phase": "Running"}, "metadata": {"labels": {"a": "b"}}}
    assert _merge(verbs, _pods(verbs, "a"), patch)["status"]["phase"] == "Pending"
    body = _merge(verbs, _pods(verbs, "a", "status"), {**patch, "metadata": {"labels": {"a": "c"}}})
    assert body["status"]["phase"] == "Running"
    assert body["metadata"]["labels"] == {"a": "b"}


def test_a_pod_changes_its_image_and_not_its_command(verbs: Verbs) -> None:
    verbs.create(_pods(verbs), _pod(), PLAIN)
    container = clone(verbs.get(_pods(verbs, "a")).body["spec"]["containers"][0])
    body = _merge(verbs, _pods(verbs, "a"), {"spec": {"containers": [{**container, "image": "pause"}]}})
    assert body["spec"]["containers"][0]["image"] == "pause"
    assert body["metadata"]["generation"] == 2
    refusal = _refused(
        422, _merge, verbs, _pods(verbs, "a"), {"spec": {"containers": [{**container, "command": ["x"]}]}}
    )
    assert "pod updates may not change fields other than" in refusal.message
    _refused(422, _merge, verbs, _pods(verbs, "a"), {"spec": {"nodeName": "n1"}})


def test_generation_follows_status_only_where_status_has_no_path_of_its_own(verbs: Verbs) -> None:
    verbs.create(_chaos(verbs), CHAOS, PLAIN)
    assert (
        _merge(verbs, _chaos(verbs, "d"), {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 1
    )
    assert _merge(verbs, _chaos(verbs, "d"), {"status": STATUS})["metadata"]["generation"] == 2
    per_pod = _chaos(verbs, plural="podnetworkchaos")
    verbs.create(per_pod, {"metadata": {"name": "a"}, "spec": {}, "status": {"observedGeneration": 4}}, PLAIN)
    one = _chaos(verbs, "a", "podnetworkchaos")
    assert "status" not in verbs.get(one).body
    status = Target(one.resource, one.namespace, one.name, "status")
    assert _merge(verbs, status, {"status": {"observedGeneration": 1}})["metadata"]["generation"] == 1
    source = {"spec": {"tcs": [{"type": "netem", "source": "default/d"}]}}
    assert _merge(verbs, one, source)["metadata"]["generation"] == 2


def test_a_status_without_its_experiment_is_invalid(verbs: Verbs) -> None:
    verbs.create(_chaos(verbs), CHAOS, PLAIN)
    error = _refused(422, _merge, verbs, _chaos(verbs, "d"), {"status": {"conditions": []}})
    assert [cause.path for cause in error.causes] == ["status.experiment"]


def test_mutation_comes_before_the_schema_and_refusal_after_it(verbs: Verbs) -> None:
    filled = verbs.create(_chaos(verbs), CHAOS, PLAIN).item.body["spec"]
    assert filled["selector"] == {"namespaces": ["default"]}
    wrong = clone(CHAOS)
    wrong["metadata"]["name"] = "e"
    wrong["spec"] |= {"direction": "both", "mode": "some"}
    assert _refused(422, verbs.create, _chaos(verbs), wrong, PLAIN).causes[0].path == "spec.mode"
    wrong["spec"]["mode"] = "all"
    assert "vnetworkchaos.kb.io" in _refused(403, verbs.create, _chaos(verbs), wrong, PLAIN).message


def test_unknown_fields_are_dropped_with_a_warning_or_refused(verbs: Verbs) -> None:
    sent = clone(CHAOS)
    sent["spec"]["typo"] = 1
    sent["metadata"]["ns"] = "default"
    error = _refused(400, verbs.create, _chaos(verbs), sent, WriteOptions(validation="Strict"))
    assert 'unknown field "spec.typo"' in error.message
    written = verbs.create(_chaos(verbs), sent, PLAIN)
    assert written.warnings == ('unknown field "metadata.ns"', 'unknown field "spec.typo"')
    assert "typo" not in written.item.body["spec"]
    assert "ns" not in written.item.body["metadata"]


# Deleting


def test_a_pod_on_a_node_is_stopped_by_its_node(verbs: Verbs) -> None:
    _bound(verbs)
    item, gone = verbs.delete(_pods(verbs, "a"), DeleteOptions(grace_s=5))
    assert not gone
    assert item.body["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:25Z"
    assert item.body["metadata"]["deletionGracePeriodSeconds"] == 5
    assert verbs.get(_pods(verbs, "a")) is item
    again, _ = verbs.delete(_pods(verbs, "a"), DeleteOptions(grace_s=60))
    assert again is item
    shorter, _ = verbs.delete(_pods(verbs, "a"), DeleteOptions(grace_s=1))
    assert shorter.body["metadata"]["deletionGracePeriodSeconds"] == 1
    assert verbs.delete(_pods(verbs, "a"), DeleteOptions(grace_s=0))[1]
    _refused(404, verbs.get, _pods(verbs, "a"))


def test_a_pod_without_a_node_and_a_finished_one_go_at_once(verbs: Verbs) -> None:
    verbs.create(_pods(verbs), _pod(), PLAIN)
    assert verbs.delete(_pods(verbs, "a"), DeleteOptions())[1]
    _bound(verbs, "b")
    _merge(verbs, _pods(verbs, "b", "status"), {"status": {"phase": "Failed"}})
    assert verbs.delete(_pods(verbs, "b"), DeleteOptions())[1]


def test_the_grace_period_of_the_pod_itself_is_the_default(verbs: Verbs) -> None:
    _bound(verbs)
    item, _ = verbs.delete(_pods(verbs, "a"), DeleteOptions())
    assert item.body["metadata"]["deletionGracePeriodSeconds"] == 30


def test_a_deletion_of_another_object_of_the_same_name_is_a_conflict(verbs: Verbs) -> None:
    verbs.create(_pods(verbs), _pod(), PLAIN)
    assert (
        "UID in precondition"
        in _refused(409, verbs.delete, _pods(verbs, "a"), DeleteOptions(uid="other")).message
    )
    _refused(409, verbs.delete, _pods(verbs, "a"), DeleteOptions(version="1"))


def test_an_object_with_finalizers_stays_until_the_last_is_gone(verbs: Verbs) -> None:
    verbs.create(
        _chaos(verbs),
        {**CHAOS, "metadata": {"name": "d", "finalizers": ["chaos-mesh/records", "x/y"]}},
        PLAIN,
    )
    item, gone = verbs.delete(_chaos(verbs, "d"), DeleteOptions())
    assert not gone
    assert item.body["metadata"]["generation"] == 2
    version = verbs.store.version
    assert verbs.delete(_chaos(verbs, "d"), DeleteOptions())[1] is False
    assert verbs.store.version == version
    _refused(422, _merge, verbs, _chaos(verbs, "d"), {"metadata": {"finalizers": ["x/y", "late/comer"]}})
    _merge(verbs, _chaos(verbs, "d"), {"metadata": {"finalizers": ["x/y"]}})
    _merge(verbs, _chaos(verbs, "d"), {"metadata": {"finalizers": None}})
    _refused(404, verbs.get, _chaos(verbs, "d"))


def test_a_pod_waits_for_its_node_and_for_its_finalizers(verbs: Verbs) -> None:
    _bound(verbs)
    _merge(verbs, _pods(verbs, "a"), {"metadata": {"finalizers": ["x/y"]}})
    verbs.delete(_pods(verbs, "a"), DeleteOptions())
    assert verbs.delete(_pods(verbs, "a"), DeleteOptions(grace_s=0))[1] is False
    _merge(verbs, _pods(verbs, "a"), {"metadata": {"finalizers": []}})
    _refused(404, verbs.get, _pods(verbs, "a"))


def test_a_collection_is_deleted_by_selector(verbs: Verbs) -> None:
    for name in ("a", "b", "c"):
        verbs.create(_pods(verbs), _pod(name, labels={"keep": str(name == "b").lower()}), PLAIN)
    gone = verbs.delete_collection(
        _pods(verbs), lambda body: body["metadata"]["labels"]["keep"] == "false", DeleteOptions()
    )
    assert [item.body["metadata"]["name"] for item in gone] == ["a", "c"]
    assert [
        item.body["metadata"]["name"] for item in verbs.select(_pods(verbs).resource, lambda _: True)
    ] == ["b"]


# What goes with it


@pytest.mark.parametrize(
    ("propagation", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")]
)
def test_who_must_be_asked_first_holds_the_object_by_a_finalizer(
    verbs: Verbs, propagation: str, finalizer: str
) -> None:
    verbs.create(_pods(verbs), _pod(finalizers=["mine/own"]), PLAIN)
    verbs.delete(_pods(verbs, "a"), DeleteOptions(propagation=propagation))
    assert set(verbs.get(_pods(verbs, "a")).body["metadata"]["finalizers"]) == {"mine/own", finalizer}
    verbs.delete(_pods(verbs, "a"), DeleteOptions())
    _merge(verbs, _pods(verbs, "a"), {"metadata": {"finalizers": None}})
    _refused(404, verbs.get, _pods(verbs, "a"))


def test_an_owner_is_named_in_full(verbs: Verbs) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": ""}
    refusal = _refused(422, verbs.create, _pods(verbs), _pod(ownerReferences=[owner]), PLAIN)
    assert refusal.causes[0].path == "metadata.ownerReferences[0].uid"


def test_a_namespace_waits_for_somebody_to_finalize_it(verbs: Verbs) -> None:
    space = _at(verbs, "/api/v1/namespaces/app")
    verbs.create(_at(verbs, "/api/v1/namespaces"), {"metadata": {"name": "app"}}, PLAIN)
    pods = _at(verbs, "/api/v1/namespaces/app/pods")
    verbs.delete(space, DeleteOptions())
    assert verbs.get(space).body["status"]["phase"] == "Terminating"
    refusal = _refused(403, verbs.create, pods, _pod(), PLAIN)
    assert refusal.causes[0].reason == "NamespaceTerminating"
    finalize = Target(space.resource, "", "app", "finalize")
    verbs.update(finalize, {**verbs.get(space).body, "spec": {"finalizers": []}}, PLAIN)
    _refused(404, verbs.get, space)


def test_a_kind_goes_with_its_objects_when_its_definition_goes(verbs: Verbs) -> None:
    verbs.create(
        _chaos(verbs), {**CHAOS, "metadata": {"name": "d", "finalizers": ["chaos-mesh/records"]}}, PLAIN
    )
    one, resource = _chaos(verbs, "d"), _chaos(verbs).resource
    definition = _at(
        verbs, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/networkchaos.chaos-mesh.org"
    )
    verbs.delete(definition, DeleteOptions())
    _merge(verbs, one, {"metadata": {"finalizers": None}})
    _refused(404, verbs.get, definition)
    assert verbs.catalogue.find("chaos-mesh.org", "v1alpha1", "networkchaos") is None
    assert verbs.select(resource, lambda _: True) == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"metadata": {"name": "wrong.example.org"}}, "metadata.name"),
        ({"spec": {"versions": []}}, "spec.versions"),
        ({"spec": {"versions": [{"name": "v1", "served": True, "storage": False}]}}, "spec.versions"),
    ],
)
def test_a_definition_that_cannot_work_is_refused(verbs: Verbs, change: JsonObject, path: str) -> None:
    plain = {
        "metadata": {"name": "things.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
    }
    target = _at(verbs, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    assert _refused(422, verbs.create, target, merge(plain, change), PLAIN).causes[0].path == path
    verbs.create(target, plain, PLAIN)
    assert verbs.catalogue.find("example.org", "v1", "things") is not None
