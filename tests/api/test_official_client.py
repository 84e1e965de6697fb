"""The official Python client against the server: its models have to parse every answer."""

import threading
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException

client: Any = kubernetes.client
"""The client's models are all optional fields to a type checker, and set in every answer here."""

pytestmark = pytest.mark.integration

CHAOS = ("chaos-mesh.org", "v1alpha1")
SPEC = {"action": "delay", "mode": "all", "selector": {}, "delay": {"latency": "50ms"}, "duration": "20s"}


def _pod(name: str, **labels: str) -> Any:
    container = client.V1Container(name="c", image="i", ports=[client.V1ContainerPort(container_port=8000)])
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, labels=labels), spec=client.V1PodSpec(containers=[container])
    )


def _code(call: Any, *args: Any, **kwargs: Any) -> int:
    with pytest.raises(ApiException) as caught:
        call(*args, **kwargs)
    return int(caught.value.status)


def test_a_pod_lives_from_create_to_delete(core: Any, namespace: str) -> None:
    made = core.create_namespaced_pod(namespace, _pod("a", app="x"))
    assert (made.status.phase, made.spec.restart_policy) == ("Pending", "Always")
    core.patch_namespaced_pod("a", namespace, {"metadata": {"labels": {"tier": "1"}}})
    core.patch_namespaced_pod_status("a", namespace, {"status": {"phase": "Running", "podIP": "127.1.0.1"}})
    binding = client.V1Binding(
        metadata=client.V1ObjectMeta(name="a"), target=client.V1ObjectReference(name="n1")
    )
    core.create_namespaced_pod_binding("a", namespace, binding, _preload_content=False)
    found = core.read_namespaced_pod("a", namespace)
    assert found.metadata.labels == {"app": "x", "tier": "1"}
    assert (found.status.phase, found.status.pod_ip, found.spec.node_name) == ("Running", "127.1.0.1", "n1")
    going = core.delete_namespaced_pod("a", namespace, grace_period_seconds=7)
    assert going.metadata.deletion_grace_period_seconds == 7
    core.delete_namespaced_pod("a", namespace, grace_period_seconds=0)
    assert _code(core.read_namespaced_pod, "a", namespace) == 404


def test_lists_are_selected_by_label_and_field(core: Any, namespace: str) -> None:
    for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
        core.create_namespaced_pod(namespace, _pod(name, app=app))
    core.patch_namespaced_pod_status("b", namespace, {"status": {"phase": "Running"}})

    def names(**selectors: str) -> list[str]:
        return [pod.metadata.name for pod in core.list_namespaced_pod(namespace, **selectors).items]

    assert names() == ["a", "b", "c"]
    assert names(label_selector="app=x") == ["a", "b"]
    assert names(label_selector="app=x", field_selector="status.phase=Running") == ["b"]
    assert names(field_selector="metadata.name!=a") == ["b", "c"]
    assert _code(core.list_namespaced_pod, namespace, field_selector="spec.image=i") == 400
    assert _code(core.list_namespaced_pod, namespace, label_selector="app in x") == 400
    core.delete_collection_namespaced_pod(namespace, label_selector="app=x")
    assert names() == ["c"]


def test_a_replace_from_an_old_version_is_a_conflict(core: Any, namespace: str) -> None:
    core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata={"name": "c"}, data={"a": "1"}))
    old = core.read_namespaced_config_map("c", namespace)
    core.patch_namespaced_config_map("c", namespace, {"data": {"a": "2"}})
    assert _code(core.replace_namespaced_config_map, "c", namespace, old) == 409
    new = core.read_namespaced_config_map("c", namespace)
    new.data["b"] = "3"
    assert core.replace_namespaced_config_map("c", namespace, new).data == {"a": "2", "b": "3"}
    patched = core.patch_namespaced_config_map("c", namespace, [{"op": "remove", "path": "/data/a"}])
    assert patched.data == {"b": "3"}


def test_a_lease_is_taken_renewed_and_fought_over(api_client: Any, namespace: str) -> None:
    leases = client.CoordinationV1Api(api_client)
    spec = client.V1LeaseSpec(holder_identity="run-1", lease_duration_seconds=10)
    body = client.V1Lease(metadata=client.V1ObjectMeta(name="resync-run"), spec=spec)
    leases.create_namespaced_lease(namespace, body)
    assert _code(leases.create_namespaced_lease, namespace, body) == 409
    mine = leases.read_namespaced_lease("resync-run", namespace)
    mine.spec.lease_transitions = 1
    leases.replace_namespaced_lease("resync-run", namespace, mine)
    assert _code(leases.replace_namespaced_lease, "resync-run", namespace, mine) == 409
    leases.delete_namespaced_lease("resync-run", namespace)
    assert _code(leases.read_namespaced_lease, "resync-run", namespace) == 404


def test_a_fault_is_created_read_patched_and_deleted(api_client: Any, namespace: str) -> None:
    custom = client.CustomObjectsApi(api_client)
    at = (*CHAOS, namespace, "networkchaos")
    body = {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": "NetworkChaos",
        "metadata": {"name": "d"},
        "spec": SPEC,
    }
    assert custom.create_namespaced_custom_object(*at, body)["spec"]["selector"]["namespaces"] == [namespace]
    assert _code(custom.create_namespaced_custom_object, *at, body) == 409
    bad = {**body, "metadata": {"name": "e"}, "spec": {**SPEC, "mode": "some"}}
    assert _code(custom.create_namespaced_custom_object, *at, bad) == 422
    bad["spec"] = {**SPEC, "direction": "both"}
    assert _code(custom.create_namespaced_custom_object, *at, bad) == 403
    assert _code(custom.patch_namespaced_custom_object, *at, "d", {"spec": {"duration": "9s"}}) == 403
    assert _code(custom.patch_namespaced_custom_object_status, *at, "d", {"status": {}}) == 404
    patched = custom.patch_namespaced_custom_object(
        *at, "d", {"status": {"experiment": {"desiredPhase": "Run"}}}
    )
    assert patched["metadata"]["generation"] == 2
    assert len(custom.list_namespaced_custom_object(*at)["items"]) == 1
    assert custom.delete_namespaced_custom_object(*at, "d")["status"] == "Success"
    assert custom.list_namespaced_custom_object(*at)["items"] == []
    assert _code(custom.list_namespaced_custom_object, *CHAOS, namespace, "nosuchchaos") == 404


def test_a_strategic_patch_of_a_custom_object_is_an_unsupported_form(api_client: Any, namespace: str) -> None:
    custom = client.CustomObjectsApi(api_client)
    at = (*CHAOS, namespace, "networkchaos")
    body = {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": "NetworkChaos",
        "metadata": {"name": "d"},
        "spec": SPEC,
    }
    custom.create_namespaced_custom_object(*at, body)
    strategic = "application/strategic-merge-patch+json"
    code = _code(custom.patch_namespaced_custom_object, *at, "d", {"metadata": {}}, _content_type=strategic)
    assert code == 415


def test_events_are_one_store_under_two_groups(api_client: Any, core: Any, namespace: str) -> None:
    about = client.V1ObjectReference(kind="Pod", name="a", namespace=namespace)
    core.create_namespaced_event(
        namespace,
        client.CoreV1Event(
            metadata=client.V1ObjectMeta(name="e"),
            involved_object=about,
            reason="Started",
            message="m",
            type="Normal",
        ),
    )
    new = client.EventsV1Api(api_client).list_namespaced_event(namespace).items[0]
    assert (new.note, new.regarding.name, new.reason) == ("m", "a", "Started")
    found = core.list_namespaced_event(namespace, field_selector="involvedObject.name=a,reason=Started").items
    assert [event.message for event in found] == ["m"]


def test_a_node_is_registered_and_reports(core: Any) -> None:
    core.create_node(client.V1Node(metadata=client.V1ObjectMeta(name="n1")))
    ready = {"type": "Ready", "status": "True"}
    core.patch_node_status(
        "n1",
        {"status": {"conditions": [ready], "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}},
    )
    core.patch_node_status("n1", {"status": {"conditions": [{"type": "DiskPressure", "status": "False"}]}})
    found = core.read_node("n1")
    assert [condition.type for condition in found.status.conditions] == ["Ready", "DiskPressure"]
    core.delete_node("n1")


def test_a_deployment_is_scaled_without_knowing_what_it_is(api_client: Any, namespace: str) -> None:
    apps = client.AppsV1Api(api_client)
    labels = {"app": "x"}
    template = client.V1PodTemplateSpec(metadata={"labels": labels}, spec=_pod("a").spec)
    spec = client.V1DeploymentSpec(selector={"matchLabels": labels}, template=template)
    made = apps.create_namespaced_deployment(
        namespace, client.V1Deployment(metadata={"name": "d"}, spec=spec)
    )
    assert (made.spec.replicas, made.spec.strategy.rolling_update.max_surge) == (1, "25%")
    scale = apps.read_namespaced_deployment_scale("d", namespace)
    assert (scale.spec.replicas, scale.status.selector) == (1, "app=x")
    apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 2}})
    found = apps.read_namespaced_deployment("d", namespace)
    assert (found.spec.replicas, found.metadata.generation) == (2, 2)
    assert _code(apps.replace_namespaced_deployment_scale, "d", namespace, scale) == 409
    wrong = {"spec": {"replicas": -1}}
    assert _code(apps.patch_namespaced_deployment_scale, "d", namespace, wrong) == 422


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"selector": {"matchLabels": {"app": "y"}}}, "template.metadata.labels"),
        ({"selector": {}}, "spec.selector"),
        ({"replicas": -1}, "spec.replicas"),
        ({"strategy": {"rollingUpdate": {"maxSurge": "some"}}}, "maxSurge"),
        ({"template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}}}, "containers"),
    ],
    ids=["another's pods", "everybody's pods", "fewer than none", "no number", "no container"],
)
def test_a_deployment_that_cannot_work_is_refused(
    api_client: Any, namespace: str, change: dict[str, Any], field: str
) -> None:
    apps = client.AppsV1Api(api_client)
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template, **change}
    with pytest.raises(ApiException) as caught:
        apps.create_namespaced_deployment(namespace, {"metadata": {"name": "d"}, "spec": spec})
    assert caught.value.status == 422
    assert field in str(caught.value.body)


def test_a_watch_sees_each_change_once_in_order(core: Any, namespace: str) -> None:
    core.create_namespaced_pod(namespace, _pod("before"))
    version = core.list_namespaced_pod(namespace).metadata.resource_version
    seen: list[tuple[str, str]] = []
    done = threading.Event()

    def follow() -> None:
        stream: Any = kubernetes.watch.Watch()  # type: ignore[no-untyped-call]
        for event in stream.stream(
            core.list_namespaced_pod,
            namespace,
            resource_version=version,
            label_selector="app=x",
            timeout_seconds=20,
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED" and event["object"].metadata.name == "b":
                stream.stop()
        done.set()

    thread = threading.Thread(target=follow)
    thread.start()
    core.create_namespaced_pod(namespace, _pod("a", app="x"))
    core.create_namespaced_pod(namespace, _pod("other", app="y"))
    core.patch_namespaced_pod("a", namespace, {"metadata": {"labels": {"app": "y"}}})
    core.create_namespaced_pod(namespace, _pod("b", app="x"))
    core.delete_namespaced_pod("b", namespace)
    assert done.wait(20)
    thread.join()
    assert seen == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b"), ("DELETED", "b")]


def test_a_dry_run_writes_nothing(core: Any, namespace: str) -> None:
    assert core.create_namespaced_pod(namespace, _pod("a"), dry_run="All").metadata.name == "a"
    assert core.list_namespaced_pod(namespace).items == []


def test_definitions_parse_and_new_kinds_are_served_at_once(api_client: Any, namespace: str) -> None:
    definitions = client.ApiextensionsV1Api(api_client)
    assert "networkchaos.chaos-mesh.org" in [
        found.metadata.name for found in definitions.list_custom_resource_definition().items
    ]
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}},
    }
    definitions.create_custom_resource_definition(
        {
            "metadata": {"name": "things.example.org"},
            "spec": {
                "group": "example.org",
                "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing"},
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
                ],
            },
        }
    )
    custom = client.CustomObjectsApi(api_client)
    at = ("example.org", "v1", namespace, "things")
    made = custom.create_namespaced_custom_object(*at, {"metadata": {"name": "t"}, "spec": {"x": 1}})
    assert made["spec"] == {"n": 3}
    definitions.delete_custom_resource_definition("things.example.org")
    assert _code(custom.list_namespaced_custom_object, *at) == 404
