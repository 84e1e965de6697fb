"""Which replica set is a deployment's present one, and which pods a shrinking set gives up first."""

from typing import Any

import msgspec

from resync.lab.controllers.objects import Deployment, Pod, ReplicaSet
from resync.lab.controllers.replicasets import deleted_first
from resync.lab.controllers.revisions import REVISION, new_set, sorted_out, template_hash
from resync.lab.labels import selector_text


def deployment(version: str) -> Deployment:
    template = {"metadata": {"labels": {"app": "web", "version": version}}, "spec": {"containers": []}}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    return msgspec.convert({"metadata": {"name": "web", "uid": "u"}, "spec": spec}, Deployment)


def stored(version: str, number: int, created: str) -> ReplicaSet:
    made = new_set(deployment(version), number, 1)
    made["metadata"]["creationTimestamp"] = created
    return msgspec.convert(made, ReplicaSet)


def test_the_set_made_from_a_template_is_found_by_it_again() -> None:
    one = stored("1", 1, "2026-01-01T00:00:00Z")
    two = stored("2", 2, "2026-01-02T00:00:00Z")
    sets = sorted_out(deployment("1"), [two, one])
    assert (sets.new, sets.old, sets.next_number) == (one, (two,), 3)
    fresh = sorted_out(deployment("3"), [one, two])
    assert (fresh.new, fresh.old) == (None, (one, two))


def test_a_set_carries_the_mark_of_its_template_in_name_labels_and_selector() -> None:
    made = new_set(deployment("1"), 4, 2)
    mark = template_hash(deployment("1").spec.template)
    assert made["metadata"]["name"] == f"web-{mark}"
    assert made["metadata"]["annotations"][REVISION] == "4"
    assert made["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] == mark
    assert selector_text(made["spec"]["selector"]) == f"app=web,pod-template-hash={mark}"
    assert template_hash(made["spec"]["template"]) == mark
    assert template_hash(deployment("2").spec.template) != mark


def test_a_selector_with_expressions_as_text() -> None:
    terms = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"x": "y"}, "matchExpressions": terms}
    assert selector_text(selector) == "x=y,a in (1,2),b notin (3),c,!d"


def pod(name: str, *, node: str = "n", phase: str = "Running", ready: str = "True", **more: Any) -> Pod:
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {
        "phase": phase,
        "conditions": [condition],
        "containerStatuses": [{"restartCount": more.get("restarts", 0)}],
    }
    metadata = {"name": name, "creationTimestamp": more.get("created", "2026-01-01T00:00:00Z")}
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": node}, "status": status}, Pod)


def test_what_serves_least_is_deleted_first() -> None:
    pods = [
        pod("best"),
        pod("young", created="2026-02-01T00:00:00Z"),
        pod("restarted", restarts=3),
        pod("unready", ready="False"),
        pod("pending", phase="Pending", ready="False"),
        pod("homeless", node="", phase="Pending", ready="False"),
    ]
    order = ["homeless", "pending", "unready", "restarted", "young", "best"]
    assert [one.metadata.name for one in deleted_first(pods)] == order
