"""Deployments and replica sets as a person drives them: apply, scale, restart, undo, kill, delete."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from resync.lab.kube import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS, Object

pytestmark = pytest.mark.integration
OCTET = 200


def needs_kubectl(rig: Any) -> None:
    if not rig.has_kubectl:
        pytest.skip("kubectl is not on this machine")


def text(item: Object) -> str:
    return msgspec.json.encode(item).decode()


def test_a_deployment_is_applied_scaled_restarted_undone_and_deleted(rig: Any) -> None:
    needs_kubectl(rig)

    async def scenario() -> None:
        async with rig.cluster(OCTET) as place:
            assert "created" in await place.kubectl("apply", "-f", "-", sent=text(rig.deployment()))
            said = await place.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
            assert 'deployment "web" successfully rolled out' in said
            assert "unchanged" in await place.kubectl("apply", "-f", "-", sent=text(rig.deployment()))

            [first] = await place.names(REPLICA_SETS)
            [pod] = await place.names(PODS)
            assert pod.startswith(f"{first}-")
            await place.kubectl("scale", "deploy/web", "--replicas=2")
            await place.kubectl("wait", "deploy/web", "--for=jsonpath={.status.readyReplicas}=2")
            assert pod in await place.names(PODS)
            rows = [line.split() for line in (await place.kubectl("get", "deploy,rs")).splitlines()]
            assert ["deployment.apps/web", "2/2", "2", "2"] in [row[:4] for row in rows]
            assert [f"replicaset.apps/{first}", "2", "2", "2"] in [row[:4] for row in rows]

            await place.kubectl("rollout", "restart", "deploy/web")
            await place.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
            assert set(await place.names(REPLICA_SETS)) > {first}
            assert not [name for name in await place.names(PODS) if name.startswith(first)]
            assert "2 " in await place.kubectl("rollout", "history", "deploy/web")
            await place.kubectl("rollout", "undo", "deploy/web")
            await place.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
            assert all(name.startswith(first) for name in await place.names(PODS))

            described = await place.kubectl("describe", "deploy", "web")
            assert "2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in described
            assert "Scaled up replica set" in described
            assert await place.kubectl("logs", "deploy/web") == "up\n"
            assert "Controlled By:  ReplicaSet/" in await place.kubectl("describe", "pods", "-l", "app=web")
            await place.kubectl("delete", "deploy", "web")
            await place.until(lambda: none_left(place), "everything to go")

    asyncio.run(scenario())


async def none_left(place: Any) -> bool:
    kinds = (DEPLOYMENTS, REPLICA_SETS, PODS)
    return not [one for kind in kinds for one in (await place.kube.list(kind, "default"))[0]]


def test_a_killed_pod_is_replaced_under_another_name(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.cluster(OCTET + 1) as place:
            await place.kube.create(DEPLOYMENTS, "default", rig.deployment(2))
            await place.until_ready(2)
            killed, kept = await place.names(PODS)
            await place.kube.delete(PODS, "default", killed, grace_s=0)
            await place.until_ready(2)
            now = await place.names(PODS)
            assert kept in now
            assert killed not in now

    asyncio.run(scenario())


def test_a_pod_on_its_way_out_is_replaced_before_it_has_gone(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.controllers() as place:
            await place.kube.create(DEPLOYMENTS, "default", rig.deployment())
            [pod] = await place.until(lambda: place.names(PODS), "a pod")
            await place.kube.patch(PODS, "default", pod, {"metadata": {"finalizers": ["test/hold"]}})
            await place.kube.delete(PODS, "default", pod)
            [other] = await place.until(lambda: place.names(PODS), "another pod")
            assert other != pod
            assert await place.kube.get(PODS, "default", pod)

    asyncio.run(scenario())


def test_a_rolling_update_never_has_fewer_ready_pods_than_it_may(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.cluster(OCTET + 2) as place:
            await place.kube.create(DEPLOYMENTS, "default", rig.deployment(3, surge=1))
            await place.until_ready(3)
            template = {"metadata": {"labels": {"version": "2"}}}
            await place.kube.patch(DEPLOYMENTS, "default", "web", {"spec": {"template": template}})
            seen: list[tuple[int, int]] = []

            async def rolled() -> bool:
                items, _ = await place.kube.list(PODS, "default", "app=web")
                live = [one for one in items if "deletionTimestamp" not in one["metadata"]]
                ready = [one for one in live if is_ready(one)]
                seen.append((len(live), len(ready)))
                return [one["metadata"]["labels"]["version"] for one in ready] == ["2"] * 3 and len(
                    items
                ) == 3

            await place.until(rolled, "every pod to be of the new template")
            assert max(live for live, _ in seen) == 4
            assert min(ready for _, ready in seen) == 3

    asyncio.run(scenario())


def is_ready(item: Object) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def test_recreate_ends_every_old_pod_before_it_begins_a_new_one(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.cluster(OCTET + 3) as place:
            await place.kube.create(DEPLOYMENTS, "default", rig.deployment(2, strategy={"type": "Recreate"}))
            await place.until_ready(2)
            template = {"metadata": {"labels": {"version": "2"}}}
            await place.kube.patch(DEPLOYMENTS, "default", "web", {"spec": {"template": template}})
            versions: list[set[str]] = []

            async def rolled() -> bool:
                items, _ = await place.kube.list(PODS, "default", "app=web")
                versions.append({one["metadata"]["labels"]["version"] for one in items})
                return len(items) == 2 and versions[-1] == {"2"}

            await place.until(rolled, "two pods of the new template")
            assert {"1", "2"} not in versions

    asyncio.run(scenario())


def test_what_a_set_cannot_create_is_told_and_tried_again(rig: Any) -> None:
    """The template is accepted, its pods are not: a deployment never checks the pod's name."""

    async def scenario() -> None:
        async with rig.controllers() as place:
            wrong = rig.deployment()
            wrong["spec"]["template"]["metadata"]["annotations"] = {"not a key": "x"}
            await place.kube.create(DEPLOYMENTS, "default", wrong)

            async def told() -> list[Object]:
                items, _ = await place.kube.list(EVENTS, "default")
                return [one for one in items if one["reason"] == "FailedCreate"]

            [event, *_] = await place.until(told, "the refusal to be told")
            assert "name part must be a qualified name" in event["message"]
            mended = {"spec": {"template": {"metadata": {"annotations": None}}}}
            await place.kube.patch(DEPLOYMENTS, "default", "web", mended)
            await place.until(lambda: place.names(PODS), "a pod")

    asyncio.run(scenario())


def test_a_rollout_that_does_not_move_says_so_in_time(rig: Any) -> None:
    needs_kubectl(rig)

    async def scenario() -> None:
        async with rig.controllers() as place:  # no node, so no pod is ever ready
            stuck = rig.deployment(progressDeadlineSeconds=1)
            await place.kubectl("apply", "-f", "-", sent=text(stuck))
            said = await place.kubectl("rollout", "status", "deploy/web", "--timeout=20s", ok=False)
            assert "exceeded its progress deadline" in said

    asyncio.run(scenario())


def test_pods_left_by_an_orphaning_deletion_are_taken_in_again(rig: Any) -> None:
    needs_kubectl(rig)

    async def scenario() -> None:
        async with rig.cluster(OCTET + 4) as place:
            await place.kubectl("apply", "-f", "-", sent=text(rig.deployment(2)))
            await place.until_ready(2)
            before = await place.names(PODS)
            await place.kubectl("delete", "deploy", "web", "--cascade=orphan")
            [left] = (await place.kube.list(REPLICA_SETS, "default"))[0]
            assert not left["metadata"].get("ownerReferences")
            await place.kubectl("apply", "-f", "-", sent=text(rig.deployment(2)))
            await place.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
            assert await place.names(PODS) == before
            owner = json.loads(await place.kubectl("get", "rs", "-o", "json"))["items"][0]
            assert owner["metadata"]["ownerReferences"][0]["kind"] == "Deployment"

    asyncio.run(scenario())


def test_a_paused_deployment_keeps_its_pods_until_it_is_resumed(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.controllers() as place:
            await place.kube.create(DEPLOYMENTS, "default", rig.deployment(2))

            async def two() -> bool:
                return len(await place.names(PODS)) == 2

            await place.until(two, "two pods")
            change = {"paused": True, "template": {"metadata": {"labels": {"version": "2"}}}}
            changed = await place.kube.patch(DEPLOYMENTS, "default", "web", {"spec": change})

            async def noticed() -> bool:
                found = await place.kube.get(DEPLOYMENTS, "default", "web")
                seen = found["status"].get("observedGeneration")
                return bool(seen == changed["metadata"]["generation"])

            await place.until(noticed, "the change to be noticed")
            assert await place.names(PODS, "version=2") == []
            await place.kube.patch(DEPLOYMENTS, "default", "web", {"spec": {"paused": False}})
            await place.until(lambda: place.names(PODS, "version=2"), "a new pod")

    asyncio.run(scenario())
