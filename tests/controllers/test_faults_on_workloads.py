"""Faults on pods that somebody owns: a killed one is replaced, a failing one is waited for."""

import asyncio
from typing import Any

import pytest

from resync.lab.installing import open_namespace
from resync.lab.kube import DEPLOYMENTS, POD_CHAOS, PODS, Object

pytestmark = pytest.mark.integration
OCTET = 207


def chaos(action: str, mode: str, **spec: object) -> Object:
    selector = {"namespaces": ["default"], "labelSelectors": {"app": "web"}}
    return {"metadata": {"name": "f"}, "spec": {"action": action, "mode": mode, "selector": selector, **spec}}


def test_a_pod_that_chaos_kills_is_replaced(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.cluster(OCTET) as place:
            await open_namespace(place.kube)
            await place.kube.create(DEPLOYMENTS, "default", rig.deployment(2))
            await place.until_ready(2)
            before = set(await place.names(PODS))
            await place.kube.create(POD_CHAOS, "default", chaos("pod-kill", "one", gracePeriod=0))

            async def one_is_new() -> bool:
                return len(before & set(await place.names(PODS))) == 1

            await place.until(one_is_new, "one pod to be killed")
            await place.until_ready(2)
            assert len(before & set(await place.names(PODS))) == 1

    asyncio.run(scenario())


def test_a_failing_pod_stays_and_comes_back_as_itself(rig: Any) -> None:
    async def scenario() -> None:
        async with rig.cluster(OCTET + 1) as place:
            await open_namespace(place.kube)
            await place.kube.create(DEPLOYMENTS, "default", rig.deployment(2))
            await place.until_ready(2)
            before = await place.names(PODS)

            async def available() -> int:
                found = await place.kube.get(DEPLOYMENTS, "default", "web")
                return found["status"].get("availableReplicas") or 0

            async def both_available() -> bool:
                return await available() == 2

            async def none_available() -> bool:
                return await available() == 0

            await place.until(both_available, "the deployment to say that both are there")
            await place.kube.create(POD_CHAOS, "default", chaos("pod-failure", "all", duration="60s"))
            await place.until(none_available, "both pods to fail")
            assert await place.names(PODS) == before
            await place.kube.delete(POD_CHAOS, "default", "f")
            await place.until_ready(2)
            assert await place.names(PODS) == before

    asyncio.run(scenario())
