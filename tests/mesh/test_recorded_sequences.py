"""The mesh goes through the states the real controller was recorded in, and asks the node the same.

Times are left out, and so is how far two pods' steps were batched into one write: what must agree is the
sequence of phases of each target, of the conditions, of the desired phase, and of requests about each pod.
"""

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from resync.kits.clocks import SystemClock
from resync.kits.waits import wait_until_async
from resync.lab.api.process import ApiProcess
from resync.lab.kube import NETWORK_CHAOS, POD_CHAOS, Object
from resync.lab.mesh import run_mesh

if TYPE_CHECKING:
    from tests.mesh.conftest import Field, Rig

pytestmark = pytest.mark.integration

CASES = (
    "delay-plain",
    "delay-to-target",
    "delay-both-target",
    "delay-from-target",
    "delay-ext",
    "delay-ext-port",
    "partition-to",
    "partition-both",
    "partition-ext",
    "partition-notarget",
    "loss",
    "loss-to-target-device",
    "duplicate",
    "corrupt",
    "bandwidth",
    "netem",
)
# Long enough to be injected, and paused, and injected again on a busy machine before it is over.
DURATION = "9s"
WALK_S = 40.0

of_one_walk = pytest.mark.xdist_group("the recorded walk")
"""Of several workers one judges them all: the cases are walked through once."""


def spec_of(rig: "Rig", name: str, duration: str) -> Object:
    """The spec a marker of the recording names."""
    marked = [line["spec"] for line in rig.recorded("daemon-requests.jsonl") if line.get("marker") == name]
    spec = marked[-1]
    if isinstance(spec, str):
        own = yaml.safe_load("{" + spec + "}")
        spec = {"mode": "all", "selector": {"labelSelectors": {"app": "a"}}, **own}
    return {**spec, "duration": duration}


def recorded_states(rig: "Rig", name: str, kind: str = "networkchaos") -> list[Object]:
    """What the recorded experiment of this name went through; of two with one name, the last."""
    found: list[Object] = []
    for line in rig.recorded(f"transitions-{kind}.jsonl"):
        if line.get("name") != name:
            continue
        if line["event"] == "ADDED":
            found.clear()
        found.append(
            {
                "conditions": line["conditions"],
                "desired": line["experiment"].get("desiredPhase"),
                "records": line["experiment"].get("containerRecords") or [],
                "care": (bool(line["finalizers"]), bool(line["deletionTimestamp"])),
            }
        )
    return found


def own_states(field: "Field", name: str) -> list[Object]:
    states = []
    for found in field.states(name):
        status = found.get("status") or {}
        experiment = status.get("experiment") or {}
        metadata = found["metadata"]
        states.append(
            {
                "conditions": {item["type"]: item["status"] for item in status.get("conditions") or []},
                "desired": experiment.get("desiredPhase"),
                "records": experiment.get("containerRecords") or [],
                "care": (bool(metadata.get("finalizers")), bool(metadata.get("deletionTimestamp"))),
            }
        )
    return states


def projections(rig: "Rig", states: list[Object]) -> dict[str, Any]:
    """The sequences that must agree."""
    ids = sorted({record["id"] for state in states for record in state["records"]})
    found: dict[str, Any] = {
        "care": rig.dedupe([state["care"] for state in states if state["care"] != (False, True)]),
        "desired": rig.dedupe([state["desired"] for state in states]),
        "conditions": rig.dedupe([state["conditions"] for state in states]),
        "desired and conditions": rig.dedupe([(state["desired"], state["conditions"]) for state in states]),
    }
    for id_ in ids:
        # Which pod a draw of one takes is chance.
        name = id_.split("/", 1)[1] if len(ids) > 1 else "the only one"
        found[f"target {name}"] = rig.dedupe([target(rig, state, id_) for state in states])
    return found


def target(rig: "Rig", state: Object, id_: str) -> Any:
    """One record; how often in a row something failed is a matter of time."""
    for record in state["records"]:
        if record["id"] == id_:
            events = [(event["operation"], event["type"]) for event in record.get("events") or []]
            counts = (record["injectedCount"], record["recoveredCount"])
            return (record["selectorKey"], record["phase"], *counts, rig.dedupe(events))
    return None


def recorded_requests(rig: "Rig", name: str, pod: str) -> list[Object]:
    """Each three calls about a pod as one request, while the named experiment was the last marker."""
    current, calls, found = "", {}, []
    names = {"FlushIPSets": "ipsets", "SetIptablesChains": "chains", "SetTcs": "tcs"}
    for line in rig.recorded("daemon-requests.jsonl"):
        current = line.get("marker", current)
        if (
            "method" not in line
            or current != name
            or not line["metadata"]["namespaced-name"].endswith(f"/{pod}")
        ):
            continue
        part = names[line["method"]]
        calls[part] = line["request"].get(part, [])
        if part == "tcs":
            found.append(dict(calls))
    return rig.dedupe(found)


@pytest.fixture(scope="module")
def gone_through(rig: "Rig", api: ApiProcess) -> dict[str, "Field"]:
    """Every case from its creation to its deletion, each in a namespace of its own, all under one mesh."""
    specs = {name: spec_of(rig, name, DURATION) for name in CASES}
    daemon, over = rig.daemon(), {}

    async def walk(name: str) -> None:
        async with rig.field(api, f"recorded-{name}", run=False, daemon=daemon) as field:
            await field.create(name, specs[name])
            await field.until_seen(name, "AllInjected", timeout_s=WALK_S)
            await field.until_seen(name, "AllRecovered", timeout_s=WALK_S)
            await field.delete(name)
            over[name] = field

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            mesh = tasks.create_task(run_mesh(api.kubeconfig, daemon, clock=SystemClock(), seed=1))
            await asyncio.gather(*(walk(name) for name in CASES))
            mesh.cancel()

    asyncio.run(scenario())
    return over


@of_one_walk
@pytest.mark.parametrize("name", CASES)
def test_a_fault_of_the_network_walks_the_recorded_states(
    rig: "Rig", gone_through: dict[str, "Field"], name: str
) -> None:
    field = gone_through[name]
    assert projections(rig, own_states(field, name)) == projections(rig, recorded_states(rig, name))


@of_one_walk
@pytest.mark.parametrize("name", CASES)
def test_a_fault_of_the_network_asks_the_node_for_the_recorded_rules(
    rig: "Rig", gone_through: dict[str, "Field"], name: str
) -> None:
    field = gone_through[name]
    for pod in ("a-0", "a-1", "b-0"):
        assert comparable(field.asked(pod)) == comparable(recorded_requests(rig, name, pod))


def comparable(requests: list[Object]) -> list[Object]:
    """Without what depends on chance or on what came before.

    Addresses in a set follow the order of selection, random in the real controller. A pod that gets no
    rules is asked for nothing when its network object is made; the recorded pods had theirs from the
    experiment before.
    """
    for request in requests:
        for ipset in request["ipsets"]:
            if "cidrs" in ipset:
                ipset["cidrs"] = sorted(ipset["cidrs"])
    return requests if any(request["tcs"] or request.get("chains") for request in requests) else []


KILL = {"action": "pod-kill", "mode": "all", "selector": {"labelSelectors": {"app": "b"}}}
FAILURE = {"action": "pod-failure", "mode": "all", "selector": {"labelSelectors": {"app": "a"}}}


def test_a_pod_failure_walks_the_recorded_states_and_swaps_the_recorded_images(
    rig: "Rig", api: ApiProcess
) -> None:
    async def scenario() -> None:
        async with rig.field(api, "recorded-failure") as field:
            await field.create("fail", {**FAILURE, "duration": DURATION}, kind=POD_CHAOS)
            await field.until_condition("fail", "AllInjected")
            await field.until_condition("fail", "AllRecovered")
            await field.delete("fail")
            assert projections(rig, own_states(field, "fail")) == projections(
                rig, recorded_states(rig, "fail", "podchaos")
            )
            for pod in ("a-0", "a-1"):
                own = [images(found["spec"]["containers"], found) for found in field.seen[f"pods/{pod}"]]
                assert rig.dedupe(own) == recorded_images(rig, pod)
            assert not field.own_requests

    asyncio.run(scenario())


def images(containers: list[Object], found: Object) -> Any:
    notes = {
        key: value
        for key, value in (found["metadata"].get("annotations") or {}).items()
        if key.startswith("chaos-mesh")
    }
    return ["pause" if "/pause:" in item["image"] else item["image"] for item in containers], notes


def recorded_images(rig: "Rig", pod: str) -> list[Any]:
    lines = [line for line in rig.recorded("transitions-pods.jsonl") if line["name"] == pod]
    until_its_end = [line for line in lines if line["t"] < "2026-11-23T00:45"]
    return rig.dedupe(
        [
            (
                ["pause" if "/pause:" in image else image for image in line["images"]],
                line["annotations"] or {},
            )
            for line in until_its_end
        ]
    )


def test_a_pod_kill_walks_the_recorded_states_and_stays_injected_until_deleted(
    rig: "Rig", api: ApiProcess
) -> None:
    async def scenario() -> None:
        async with rig.field(api, "recorded-kill") as field:
            # A duration is ignored: it happens once.
            await field.create("kill", {**KILL, "duration": "1s"}, kind=POD_CHAOS)
            await field.until_condition("kill", "AllInjected")

            async def asked_to_go() -> bool:
                return "deletionTimestamp" in field.seen["pods/b-0"][-1]["metadata"]

            await wait_until_async(asked_to_go, what="the pod to be asked to go", timeout_s=30)
            await field.delete("kill")
            assert projections(rig, own_states(field, "kill")) == projections(
                rig, recorded_states(rig, "kill", "podchaos")
            )

    asyncio.run(scenario())


async def pausing(field: "Field", name: str) -> None:
    await field.until_condition(name, "AllInjected")
    await field.pause(name, paused=True)
    await field.until_condition(name, "AllRecovered", "Paused")
    await field.pause(name, paused=False)
    await field.until_condition(name, "AllInjected")
    await field.until_condition(name, "AllRecovered")
    await field.delete(name)


async def expiring_with_nothing_selected(field: "Field", name: str) -> None:
    await field.until(name, in_phase("Stop"), what="the end of its time")
    await field.delete(name)


async def deleted_with_nothing_selected(field: "Field", name: str) -> None:
    await field.until(name, in_phase("Run"), what="its start")
    await field.until(name, lambda found: bool(found["status"].get("conditions")), what="conditions")
    await field.delete(name)


async def with_the_node_away(field: "Field", name: str) -> None:
    """Deleted while the node cannot be asked: nothing moves until it can, then the fault comes and goes."""
    field.daemon.unknown = True
    await field.until(name, failures_of(3), what="three failed tries")
    await field.kube.delete(field.kinds[name], field.namespace, name)
    await field.until(name, in_phase("Stop"), what="the deletion to be seen")
    failed = len(events_of(await field.chaos(name)))
    await field.until(name, failures_of(failed + 1), what="one more failed try")
    field.daemon.unknown = False
    await field.until_gone(name)


async def with_errors_both_ways(field: "Field", name: str) -> None:
    field.daemon.fails = "RTNETLINK answers: Operation not permitted"
    await field.until(name, failures_of(3), what="three failed tries")
    field.daemon.fails = ""
    await field.until_condition(name, "AllInjected")
    field.daemon.fails = "ipset broken"
    tried = len(events_of(await field.chaos(name)))
    await field.kube.delete(field.kinds[name], field.namespace, name)
    await field.until(name, failures_of(tried + 3), what="three failed tries to recover")
    field.daemon.fails = ""
    await field.until_gone(name)


async def with_a_node_that_comes_late(field: "Field", name: str) -> None:
    field.daemon.unknown = True
    await field.until(name, failures_of(3), what="three failed tries")
    field.daemon.unknown = False
    await field.until_condition(name, "AllInjected")
    await field.delete(name)


def in_phase(phase: str) -> Callable[[Object], bool]:
    return lambda found: (found.get("status") or {}).get("experiment", {}).get("desiredPhase") == phase


def events_of(found: Object) -> list[Object]:
    records = ((found.get("status") or {}).get("experiment") or {}).get("containerRecords") or [{}]
    events: list[Object] = records[0].get("events") or []
    return events


def failures_of(count: int) -> Callable[[Object], bool]:
    return lambda found: len(events_of(found)) >= count


TROUBLES = {
    "pause": (DURATION, pausing),
    "nomatch": (DURATION, expiring_with_nothing_selected),
    "notarget": ("60s", deleted_with_nothing_selected),
    "down": ("60s", with_the_node_away),
    "daemonerr": ("60s", with_errors_both_ways),
    "noslice": ("60s", with_a_node_that_comes_late),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_walks_the_recorded_states_too(rig: "Rig", api: ApiProcess, name: str) -> None:
    duration, play = TROUBLES[name]
    spec = spec_of(rig, name, duration)

    async def scenario() -> None:
        async with rig.field(api, f"recorded-{name}") as field:
            field.daemon.unknown = name in ("down", "noslice")
            field.daemon.fails = "not yet" if name == "daemonerr" else ""
            await field.create(name, spec)
            await play(field, name)
            assert projections(rig, own_states(field, name)) == projections(rig, recorded_states(rig, name))

    asyncio.run(scenario())


async def expiring(field: "Field", name: str) -> None:
    await field.until_condition(name, "AllInjected")
    await field.until_condition(name, "AllRecovered")
    await field.delete(name)


async def happening_once(field: "Field", name: str) -> None:
    await field.until_condition(name, "AllInjected")
    await field.delete(name)


TOLD = {
    "fail": (POD_CHAOS, {**FAILURE, "duration": DURATION}, expiring),
    "kill": (POD_CHAOS, KILL, happening_once),
    "pause": (NETWORK_CHAOS, None, pausing),
    "partition-to": (NETWORK_CHAOS, None, expiring),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_same_is_told_in_the_same_words(rig: "Rig", api: ApiProcess, name: str) -> None:
    kind, spec, play = TOLD[name]

    async def scenario() -> None:
        async with rig.field(api, f"told-{name}") as field:
            await field.create(name, spec or spec_of(rig, name, DURATION), kind=kind)
            await play(field, name)
            expected = told(recorded_events(rig, f"{kind.kind}/{name}"))

            async def all_told() -> bool:
                events = await field.cluster_events(name)
                own = told([{**event, "component": event["source"]["component"]} for event in events])
                return own == expected

            await wait_until_async(all_told, what="exactly these events", timeout_s=30, every_s=0.02)

    asyncio.run(scenario())


def recorded_events(rig: "Rig", about: str) -> list[Object]:
    """But one: the real controller trips over the deletion it has just made possible."""
    events = [line for line in rig.recorded("transitions-events.jsonl") if line["obj"] == about]
    return [event for event in events if not event["message"].startswith("Failed to update conditions")]


def told(events: list[Object]) -> dict[str, list[Any]]:
    """What each component said. Which pod came first, and how two pods' steps fell into writes, is chance."""
    found: dict[str, list[Any]] = {}
    for event in events:
        message = re.sub(r"for \S+/[ab]-\d$", "for a pod", event["message"])
        if message == "Successfully update records of resource":
            continue
        found.setdefault(event["component"], []).append((event["type"], event["reason"], message))
    return {component: sorted(said) for component, said in found.items()}
