"""StatefulSets: names and numbers of their own, what goes comes back under its name, one at a time."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from resync.lab.controllers.objects import Pod, StatefulSet
from resync.lab.controllers.statefulsets import (
    INDEX_LABEL,
    REVISION_LABEL,
    index_of,
    revision,
    to_delete,
    to_make,
)
from resync.lab.kube import PODS, STATEFUL_SETS, Object

OCTET = 209


def stateful_set(replicas: int, **spec: object) -> StatefulSet:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    every = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return msgspec.convert({"metadata": {"name": "web"}, "spec": every}, StatefulSet)


def pods(found: StatefulSet, states: Mapping[int, str]) -> dict[int, Pod]:
    """Pods by number: `ready`, `starting`, `ended`, `going`, `old` (ready, of another template)."""
    return {index: pod(found, index, state) for index, state in states.items()}


def pod(found: StatefulSet, index: int, state: str) -> Pod:
    of = "web-other" if state == "old" else revision(found)
    metadata: Object = {"name": f"web-{index}", "labels": {REVISION_LABEL: of}}
    if state == "going":
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ready = {"type": "Ready", "status": str(state in {"ready", "old"})}
    status = {"phase": "Failed" if state == "ended" else "Running", "conditions": [ready]}
    return msgspec.convert({"metadata": metadata, "status": status}, Pod)


PARALLEL = {"podManagementPolicy": "Parallel"}


@pytest.mark.parametrize(
    ("spec", "there", "made"),
    [
        ({}, {}, [0]),
        ({}, {0: "starting"}, []),
        ({}, {0: "ready"}, [1]),
        ({}, {0: "ready", 2: "ready"}, [1]),
        ({}, {0: "going", 1: "ready", 2: "ready"}, []),
        (PARALLEL, {}, [0, 1, 2]),
        (PARALLEL, {0: "starting", 1: "going"}, [2]),
    ],
)
def test_what_is_missing_is_made_in_order_or_all_at_once(
    spec: Mapping[str, object], there: Mapping[int, str], made: list[int]
) -> None:
    found = stateful_set(3, **spec)
    assert list(to_make(found, pods(found, there))) == made


@pytest.mark.parametrize(
    ("spec", "there", "deleted"),
    [
        ({}, {0: "ready", 1: "ready"}, []),
        ({}, {0: "ended", 1: "ready"}, [0]),
        ({}, {0: "ready", 1: "ready", 2: "ready", 3: "ready"}, [3]),
        (PARALLEL, {0: "ready", 1: "ready", 2: "ready", 3: "ready"}, [3, 2]),
        ({}, {0: "old", 1: "old"}, [1]),
        ({}, {0: "old", 1: "starting"}, []),
        ({}, {0: "old", 1: "going"}, []),
        ({}, {0: "old", 1: "ready"}, [0]),
        ({"updateStrategy": {"type": "OnDelete"}}, {0: "old", 1: "old"}, []),
    ],
)
def test_what_is_too_many_ended_or_of_an_old_template_goes(
    spec: Mapping[str, object], there: Mapping[int, str], deleted: list[int]
) -> None:
    found = stateful_set(2, **spec)
    gone = [index_of(found, one.metadata.name) for one in to_delete(found, pods(found, there))]
    assert gone == deleted


@pytest.mark.parametrize(
    ("name", "index"), [("web-0", 0), ("web-12", 12), ("web", None), ("web-x", None), ("other-web-0", None)]
)
def test_a_pod_is_a_set_s_by_its_name(name: str, index: int | None) -> None:
    assert index_of(stateful_set(1), name) == index


def manifest(rig: Any, replicas: int, **spec: object) -> Object:
    template = rig.deployment()["spec"]["template"]
    every = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": every}


@pytest.mark.integration
def test_a_pod_that_is_killed_comes_back_as_another_under_its_name(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.cluster(OCTET) as place:
            await place.kube.create(STATEFUL_SETS, "default", manifest(rig, 2))
            await place.until_ready(2)
            before = await place.kube.get(PODS, "default", "web-1")
            assert before["metadata"]["labels"][INDEX_LABEL] == "1"
            await place.kube.delete(PODS, "default", "web-1", grace_s=0)

            async def is_another() -> bool:
                items, _ = await place.kube.list(PODS, "default")
                return before["metadata"]["uid"] not in {one["metadata"]["uid"] for one in items}

            await place.until(is_another, "the killed pod to be gone")
            await place.until_ready(2)
            assert await place.names(PODS) == ["web-0", "web-1"]

    asyncio.run(scenario())


@pytest.mark.integration
def test_it_is_applied_scaled_restarted_and_deleted_as_a_person_does(rig: Any) -> None:
    if not rig.has_kubectl:
        pytest.skip("kubectl is not on this machine")

    async def scenario() -> None:
        async with rig.cluster(OCTET + 1) as place:
            text = json.dumps(manifest(rig, 1))
            assert "created" in await place.kubectl("apply", "-f", "-", sent=text)
            await place.kubectl("rollout", "status", "sts/web", "--timeout=30s")
            await place.kubectl("scale", "sts/web", "--replicas=2")
            await place.until_ready(2)
            await place.kubectl("rollout", "status", "sts/web", "--timeout=30s")
            assert "2/2" in await place.kubectl("get", "sts")
            first = await place.kube.get(PODS, "default", "web-0")
            await place.kubectl("rollout", "restart", "sts/web")
            await place.kubectl("rollout", "status", "sts/web", "--timeout=60s")
            second = await place.kube.get(PODS, "default", "web-0")
            assert second["metadata"]["uid"] != first["metadata"]["uid"]
            assert "Created pod: web-1" in await place.kubectl("describe", "sts", "web")
            await place.kubectl("delete", "sts", "web")

            async def none_left() -> bool:
                return not (await place.kube.list(PODS, "default"))[0]

            await place.until(none_left, "everything to go")

    asyncio.run(scenario())
