"""Dependents of a deleted owner, contents of a deleted namespace."""

import asyncio
import json
from typing import Any

import pytest

from resync.lab.kube import (
    DEFINITIONS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    NotFoundError,
    Object,
    Resource,
)

pytestmark = pytest.mark.integration
CONFIGS = Resource("v1", "ConfigMap", "configmaps")
LEASES = Resource("coordination.k8s.io/v1", "Lease", "leases")


def owned_by(*owners: Object, blocking: bool = False) -> Object:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocking,
        }
        for owner in owners
    ]
    return {"ownerReferences": references}


async def config(place: Any, name: str, **metadata: object) -> Object:
    made: Object = await place.kube.create(CONFIGS, "default", {"metadata": {"name": name, **metadata}})
    return made


async def until_gone(place: Any, resource: Resource, name: str, namespace: str | None = "default") -> None:
    async def gone() -> bool:
        try:
            await place.kube.get(resource, namespace, name)
        except NotFoundError:
            return True
        return False

    await place.until(gone, f"{name} to be gone")


def test_dependents_go_with_their_last_owner_and_forget_the_others(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.controllers() as place:
            one, two = await config(place, "one"), await config(place, "two")
            mine = await config(place, "mine", **owned_by(one))
            await config(place, "grandchild", **owned_by(mine))
            await config(place, "ours", **owned_by(one, two))
            await place.kube.delete(CONFIGS, "default", "one")
            await until_gone(place, CONFIGS, "mine")
            await until_gone(place, CONFIGS, "grandchild")

            async def owners() -> bool:
                found = await place.kube.get(CONFIGS, "default", "ours")
                return [one["name"] for one in found["metadata"]["ownerReferences"]] == ["two"]

            await place.until(owners, "the lost owner to be forgotten")
            await place.kube.delete(CONFIGS, "default", "two")
            await until_gone(place, CONFIGS, "ours")

    asyncio.run(scenario())


def test_an_object_whose_owner_never_was_goes_and_one_of_a_living_owner_stays(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.controllers() as place:
            owner = await config(place, "owner")
            await config(place, "child", **owned_by(owner))
            stranger = {**owner, "metadata": {"name": "owner", "uid": "another-life"}}
            await config(place, "lost", **owned_by(stranger))
            await until_gone(place, CONFIGS, "lost")
            assert await place.names(CONFIGS) == ["child", "owner"]

    asyncio.run(scenario())


def test_an_owner_deleted_in_the_foreground_goes_after_those_that_block_it(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.controllers() as place:
            owner = await config(place, "owner")
            held = {**owned_by(owner, blocking=True), "finalizers": ["test/hold"]}
            await config(place, "child", **held)
            await place.kube.delete(CONFIGS, "default", "owner", propagation="Foreground")

            async def child_goes() -> bool:
                found = await place.kube.get(CONFIGS, "default", "child")
                return "deletionTimestamp" in found["metadata"]

            await place.until(child_goes, "the child to be deleted first")
            waiting = await place.kube.get(CONFIGS, "default", "owner")
            assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
            await place.kube.patch(CONFIGS, "default", "child", {"metadata": {"finalizers": None}})
            await until_gone(place, CONFIGS, "child")
            await until_gone(place, CONFIGS, "owner")

    asyncio.run(scenario())


def test_kubectl_waits_for_a_deployment_deleted_in_the_foreground_until_its_pods_have_gone(rig: Any) -> None:
    if not rig.has_kubectl:
        pytest.skip("kubectl is not on this machine")

    async def scenario() -> None:
        async with rig.cluster(205) as place:
            await place.kubectl("apply", "-f", "-", sent=json.dumps(rig.deployment(2)))
            await place.until_ready(2)
            await place.kubectl("delete", "deploy", "web", "--cascade=foreground", "--timeout=20s")
            kinds = (DEPLOYMENTS, REPLICA_SETS, PODS)
            assert [one for kind in kinds for one in (await place.kube.list(kind, "default"))[0]] == []

    asyncio.run(scenario())


def test_a_namespace_goes_when_all_in_it_has_gone(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.cluster(206) as place:
            await place.kube.create(NAMESPACES, None, {"metadata": {"name": "app"}})
            await place.kube.create(DEPLOYMENTS, "app", rig.deployment(2))
            await place.kube.create(CONFIGS, "app", {"metadata": {"name": "c"}})
            held: Object = {"metadata": {"name": "held", "finalizers": ["test/hold"]}}
            await place.kube.create(LEASES, "app", held)

            async def two() -> bool:
                return len(await place.names(PODS, namespace="app")) == 2

            await place.until(two, "two pods")
            await place.kube.delete(NAMESPACES, None, "app")

            async def only_the_held_is_left() -> bool:
                kinds = (DEPLOYMENTS, REPLICA_SETS, PODS, CONFIGS)
                return not [one for kind in kinds for one in (await place.kube.list(kind, "app"))[0]]

            await place.until(only_the_held_is_left, "what nobody holds to go")
            found = await place.kube.get(NAMESPACES, None, "app")
            assert found["status"]["phase"] == "Terminating"
            await place.kube.patch(LEASES, "app", "held", {"metadata": {"finalizers": None}})
            await until_gone(place, NAMESPACES, "app", None)

    asyncio.run(scenario())


def test_kinds_that_come_later_are_looked_after_too(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.controllers() as place:
            stranger: Object = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "x", "uid": "y"},
            }
            await config(place, "lost", **owned_by(stranger))
            await until_gone(place, CONFIGS, "lost")  # from here on they are at work
            version = {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }
            spec = {
                "group": "example.org",
                "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing"},
                "versions": [version],
            }
            definition = {"metadata": {"name": "things.example.org"}, "spec": spec}
            await place.kube.create(DEFINITIONS, None, definition)
            things = Resource("example.org/v1", "Thing", "things")
            owner = await config(place, "owner")
            await place.kube.create(things, "default", {"metadata": {"name": "t", **owned_by(owner)}})
            await place.kube.delete(CONFIGS, "default", "owner")
            await until_gone(place, things, "t")

    asyncio.run(scenario())
