"""PodChaos beyond the recordings: what it selects and leaves behind, what kubectl shows, what is refused."""

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from resync.kits.waits import wait_until_async
from resync.lab.api.process import ApiProcess
from resync.lab.kube import NETWORK_CHAOS, POD_CHAOS, PODS, Object, RefusedError, Resource
from resync.lab.mesh.objects import Pod, Record
from resync.lab.mesh.podfaults import PAUSE_IMAGE, PodChaos, step
from resync.lab.mesh.records import Operation, Patch, World

if TYPE_CHECKING:
    from tests.mesh.conftest import Rig

pytestmark = pytest.mark.integration

KUBECTL = shutil.which("kubectl")
SELECTOR = {"labelSelectors": {"app": "a"}}
DELAY = {"action": "delay", "mode": "all", "selector": SELECTOR, "delay": {"latency": "50ms"}}


def pod_spec(action: str, **more: Any) -> Object:
    return {"action": action, "mode": "all", "selector": SELECTOR, **more}


def images(field: Any, pod: str) -> list[str]:
    found = [item["spec"]["containers"][0]["image"] for item in field.seen[f"pods/{pod}"]]
    return [image for index, image in enumerate(found) if index == 0 or found[index - 1] != image]


async def until_back(field: Any, pod: str) -> None:
    """Pods are followed apart from what is done to them, and may be told of a little later."""

    async def look() -> bool:
        return images(field, pod)[-1] == "example/app:1"

    await wait_until_async(look, what=f"{pod} to have its first image again", timeout_s=30)


def test_a_pause_gives_the_image_back_and_resuming_takes_it_again(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "podpause") as field:
            await field.create("stop", pod_spec("pod-failure", duration="60s"), kind=POD_CHAOS)
            await field.until_condition("stop", "AllInjected")
            await field.pause("stop", paused=True)
            await field.until_condition("stop", "AllRecovered", "Paused")
            await field.pause("stop", paused=False)
            await field.until_condition("stop", "AllInjected")
            await field.delete("stop")
            await until_back(field, "a-0")
            assert images(field, "a-0") == ["example/app:1", PAUSE_IMAGE] * 2 + ["example/app:1"]
            assert not field.seen["pods/a-0"][-1]["metadata"].get("annotations")

    asyncio.run(scenario())


def test_two_failures_of_one_pod_give_back_the_first_image(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "podtwice") as field:
            for name in ("one", "two"):
                await field.create(name, pod_spec("pod-failure", duration="60s"), kind=POD_CHAOS)
                await field.until_condition(name, "AllInjected")
            for name in ("two", "one"):
                await field.delete(name)
            await until_back(field, "a-0")

    asyncio.run(scenario())


def test_a_pod_that_is_gone_counts_as_recovered(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "podlost") as field:
            await field.create("lost", pod_spec("pod-failure", duration="60s"), kind=POD_CHAOS)
            await field.until_condition("lost", "AllInjected")
            for pod in ("a-0", "a-1"):
                await field.kube.delete(PODS, field.namespace, pod, grace_s=0)
            await field.delete("lost")

    asyncio.run(scenario())


def test_container_kill_asks_the_node_once_for_each_container_named(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "containers") as field:
            spec = pod_spec("container-kill", containerNames=["main", "absent"])
            await field.create("kill", spec, kind=POD_CHAOS)
            found = await field.until_condition("kill", "AllInjected")
            records = found["status"]["experiment"]["containerRecords"]
            assert sorted(record["id"] for record in records) == [
                "containers/a-0/main",
                "containers/a-1/main",
            ]
            killed = sorted((field.uids[uid], container) for uid, container in field.daemon.killed)
            assert killed == [("a-0", "main"), ("a-1", "main")]
            await field.delete("kill")
            assert len(field.daemon.killed) == 2

    asyncio.run(scenario())


def test_a_kill_that_fails_is_tried_again_and_one_of_nothing_says_so(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "killfails") as field:
            field.daemon.fails = "no such container"
            await field.create("kill", pod_spec("container-kill", containerNames=["main"]), kind=POD_CHAOS)
            await field.create("none", pod_spec("container-kill", containerNames=["absent"]), kind=POD_CHAOS)
            found = await field.until("kill", lambda item: "no such container" in str(item), what="a failure")
            phases = {record["phase"] for record in found["status"]["experiment"]["containerRecords"]}
            assert phases == {"Not Injected"}
            field.daemon.fails = ""
            await field.until_condition("kill", "AllInjected")
            why = "Failed to select targets: cannot generate objects from empty list"
            await field.until_told(
                "none", lambda told: why in [event["message"] for event in told], what="why it kills nothing"
            )
            for name in ("kill", "none"):
                await field.delete(name)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "key"), [("x", "chaos-mesh-x-pod-failure-main-normal-image"), ("x" * 40, "main-normal")]
)
def test_the_image_is_noted_under_the_real_ones_key(name: str, key: str) -> None:
    chaos = msgspec.convert({"metadata": {"name": name}, "spec": pod_spec("pod-failure")}, PodChaos)
    containers = [{"name": "main", "image": "own", "args": ["x"]}]
    pod = msgspec.convert({"metadata": {"name": "p"}, "spec": {"containers": containers}}, Pod)
    decision = step(chaos, Record(id="/p", selector_key="."), World({"/p": pod}, {}), Operation.APPLY)
    assert isinstance(decision, Patch)
    assert decision.body["metadata"]["annotations"] == {key: "own"}
    assert decision.body["spec"] == {"containers": [{"name": "main", "image": PAUSE_IMAGE, "args": ["x"]}]}


REFUSED: list[tuple[str, Resource, Object, str]] = [
    ("both", NETWORK_CHAOS, {**DELAY, "direction": "both"}, "when targets is empty"),
    (
        "from",
        NETWORK_CHAOS,
        {**DELAY, "direction": "from", "externalTargets": ["10.0.0.1"]},
        "external targets",
    ),
    ("corr", NETWORK_CHAOS, {**DELAY, "delay": {"latency": "1ms", "correlation": "x"}}, "correlation"),
    ("loss", NETWORK_CHAOS, {**DELAY, "action": "loss", "loss": {"loss": "much"}}, "ParseFloat"),
    (
        "rate",
        NETWORK_CHAOS,
        {**DELAY, "bandwidth": {"rate": "fast", "limit": 1, "buffer": 1}},
        "invalid unit",
    ),
    ("names", POD_CHAOS, pod_spec("container-kill"), "the name of container is required on container-kill"),
    ("time", POD_CHAOS, pod_spec("pod-failure", duration="soon"), "invalid duration"),
    ("value", POD_CHAOS, pod_spec("pod-kill", mode="fixed", value="0"), "greater than 0"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_admission_refuses_with_403_and_the_webhooks_reason(
    rig: "Rig", api: ApiProcess, case: tuple[str, Resource, Object, str]
) -> None:
    name, kind, spec, why = case

    async def scenario() -> None:
        async with rig.field(api, f"refused-{name}", run=False) as field:
            with pytest.raises(RefusedError, match=rf"v{kind.kind.lower()}.kb.io.*{why}.*\(403\)"):
                await field.create(name, spec, kind=kind)

    asyncio.run(scenario())


def test_a_spec_cannot_change_and_is_refused_with_403(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "frozen", run=False) as field:
            await field.create("frozen", pod_spec("pod-failure", duration="60s"), kind=POD_CHAOS)
            change = {"spec": {"duration": "90s"}}
            with pytest.raises(RefusedError, match=r"Cannot update chaos spec.*\(403\)"):
                await field.kube.patch(POD_CHAOS, field.namespace, "frozen", change)

    asyncio.run(scenario())


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on this machine")
def test_kubectl_shows_both_kinds_and_what_became_of_them(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "shown") as field:
            await field.create("fail", pod_spec("pod-failure", duration="60s"), kind=POD_CHAOS)
            await field.create("slow", {**DELAY, "duration": "60s"})
            for name in ("fail", "slow"):
                await field.until_condition(name, "AllInjected")
            cache = str(api.kubeconfig.parent / "cache")
            call = [
                str(KUBECTL),
                "--kubeconfig",
                str(api.kubeconfig),
                "--cache-dir",
                cache,
                "-n",
                field.namespace,
            ]
            shown = await run(*call, "get", "podchaos,networkchaos", "--no-headers")
            lines = [line.split()[:3] for line in shown.splitlines() if line]
            assert lines[0][0] == "podchaos.chaos-mesh.org/fail"
            assert lines[1] == ["networkchaos.chaos-mesh.org/slow", "delay", "60s"]
            described = await run(*call, "describe", "podchaos", "fail")
            assert "Successfully apply chaos for shown/a-0" in described
            wait = ("wait", "--for=condition=AllInjected", "podchaos/fail", "--timeout=20s")
            assert "condition met" in await run(*call, *wait)
            assert "deleted" in await run(*call, "delete", "podchaos/fail", "networkchaos/slow")

    asyncio.run(scenario())


async def run(*command: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)
