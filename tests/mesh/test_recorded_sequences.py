"""The mesh goes through the states the real controller was recorded in, and asks the node the same.

Times are left out, and so is how far two pods' steps were batched into one write: what must agree is the
sequence of phases of each target, of the conditions, of the desired phase, and of requests about each pod.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from resync.lab.api.process import ApiProcess
from resync.lab.kube import Object

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
)
DURATION = "2s"


def spec_of(rig: "Rig", name: str) -> Object:
    """The spec a marker of the recording names."""
    marked = [line["spec"] for line in rig.recorded("daemon-requests.jsonl") if line.get("marker") == name]
    spec = marked[-1]
    if isinstance(spec, str):
        own = yaml.safe_load("{" + spec + "}")
        spec = {"mode": "all", "selector": {"labelSelectors": {"app": "a"}}, **own}
    return {**spec, "duration": DURATION}


def recorded_states(rig: "Rig", name: str) -> list[Object]:
    return [
        {
            "conditions": line["conditions"],
            "desired": line["experiment"].get("desiredPhase"),
            "records": line["experiment"].get("containerRecords") or [],
            "care": (bool(line["finalizers"]), bool(line["deletionTimestamp"])),
        }
        for line in rig.recorded("transitions-networkchaos.jsonl")
        if line.get("name") == name
    ]


def own_states(field: "Field", name: str) -> list[Object]:
    states = []
    for found in field.seen[f"networkchaos/{name}"]:
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
    ids = sorted({record["id"].split("/")[1] for state in states for record in state["records"]})
    found: dict[str, Any] = {
        "care": rig.dedupe([state["care"] for state in states if state["care"] != (False, True)]),
        "desired": rig.dedupe([state["desired"] for state in states]),
        "conditions": rig.dedupe([state["conditions"] for state in states]),
        "desired and conditions": rig.dedupe([(state["desired"], state["conditions"]) for state in states]),
    }
    for id_ in ids:
        found[f"target {id_}"] = rig.dedupe([target(state, id_) for state in states])
    return found


def target(state: Object, id_: str) -> Any:
    for record in state["records"]:
        if record["id"].endswith(f"/{id_}"):
            events = [(event["operation"], event["type"]) for event in record.get("events") or []]
            counts = (record["injectedCount"], record["recoveredCount"])
            return (record["selectorKey"], record["phase"], *counts, events)
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


@pytest.mark.parametrize("name", CASES)
def test_a_delay_walks_the_recorded_states_and_asks_for_the_recorded_rules(
    rig: "Rig", api: ApiProcess, name: str
) -> None:
    spec = spec_of(rig, name)

    async def scenario() -> None:
        async with rig.field(api, f"recorded-{name}") as field:
            await field.create(name, spec)
            await field.until_condition(name, "AllInjected")
            await field.until_condition(name, "AllRecovered")
            await field.delete(name)
            assert projections(rig, own_states(field, name)) == projections(rig, recorded_states(rig, name))
            for pod in ("a-0", "a-1", "b-0"):
                assert comparable(field.asked(pod)) == comparable(recorded_requests(rig, name, pod))

    asyncio.run(scenario())


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
    return requests if any(request["tcs"] for request in requests) else []
