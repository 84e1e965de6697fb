"""What an experiment does when something is in its way.

Pause, nothing selected, errors, deletion, restarts.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from resync.kits.clocks import SystemClock
from resync.kits.waits import wait_until_async
from resync.lab.api.process import ApiProcess
from resync.lab.kube import POD_NETWORK_CHAOS, PODS, Object
from resync.lab.mesh import run_mesh
from resync.lab.mesh.deeds import Hands
from resync.lab.mesh.records import Commit

if TYPE_CHECKING:
    from tests.mesh.conftest import Rig

pytestmark = pytest.mark.integration

PAUSE = "experiment.chaos-mesh.org/pause"


def delay_spec(**changes: Any) -> Object:
    spec: Object = {
        "action": "delay",
        "mode": "all",
        "selector": {"labelSelectors": {"app": "a"}},
        "delay": {"latency": "50ms", "jitter": "10ms", "correlation": "0"},
        "duration": "60s",
    }
    return {**spec, **changes}


def reasons(events: list[Object]) -> list[str]:
    return [event["reason"] for event in events]


def warnings(events: list[Object]) -> list[Object]:
    return [event for event in events if event["type"] == "Warning"]


def only_record(found: Object) -> Object:
    record: Object = found["status"]["experiment"]["containerRecords"][0]
    return record


def test_a_pause_recovers_and_resuming_injects_the_same_target_again(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "pause") as field:
            await field.create("pause", delay_spec(mode="one", duration="9s"))
            first = await field.until_condition("pause", "AllInjected")
            await field.pause("pause", paused=True)
            paused = await field.until_condition("pause", "AllRecovered", "Paused")
            assert paused["status"]["experiment"]["desiredPhase"] == "Stop"
            await field.pause("pause", paused=False)
            again = await field.until_condition("pause", "AllInjected")
            assert only_record(again)["injectedCount"] == 2
            assert only_record(again)["id"] == only_record(first)["id"]
            await field.until_condition("pause", "AllRecovered")
            events = await field.until_told(
                "pause", lambda told: reasons(told).count("Recovered") == 2, what="both recoveries to be told"
            )
            words = [reason for reason in reasons(events) if reason not in ("Updated", "FinalizerInited")]
            assert words == [
                *("Started", "Applied", "Paused", "Recovered", "Started", "Applied", "TimeUp", "Recovered")
            ]

    asyncio.run(scenario())


def test_an_experiment_created_paused_shows_its_targets_and_injects_nothing(
    rig: "Rig", api: ApiProcess
) -> None:
    async def scenario() -> None:
        async with rig.field(api, "preview") as field:
            await field.create("preview", delay_spec(), {PAUSE: "true"})
            found = await field.until_condition("preview", "Selected", "AllRecovered", "Paused")
            records = found["status"]["experiment"]["containerRecords"]
            assert sorted(record["id"] for record in records) == ["preview/a-0", "preview/a-1"]
            assert [record["injectedCount"] for record in records] == [0, 0]
            assert not field.own_requests

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "changes",
    [
        {"selector": {"labelSelectors": {"app": "zzz"}}},
        {"direction": "to", "target": {"mode": "all", "selector": {"labelSelectors": {"app": "zzz"}}}},
    ],
    ids=["source", "target"],
)
def test_nothing_selected_is_said_once_a_pass_and_the_object_goes_at_once(
    rig: "Rig", api: ApiProcess, changes: Object
) -> None:
    async def scenario() -> None:
        async with rig.field(api, f"nomatch-{len(changes)}") as field:
            took_s = []
            # A stall can only add to the time that one of them takes to go.
            for name in ("nomatch", "nomatch-again", "nomatch-once-more"):
                await field.create(name, delay_spec(**changes))
                events = await field.until_told(name, lambda told: bool(warnings(told)), what="the warning")
                assert warnings(events)[0]["message"] == "Failed to select targets: no pod is selected"
                found = await field.until(name, lambda item: bool(item.get("status")), what="a status")
                assert rig.true_conditions(found) == []
                assert not found["status"]["experiment"].get("containerRecords")
                started_s = time.monotonic()
                await field.delete(name)
                took_s.append(time.monotonic() - started_s)
            assert min(took_s) < 1, took_s
            assert not field.own_requests

    asyncio.run(scenario())


def test_a_namespace_that_has_not_opted_in_matches_nothing(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "closed", opted_in=False) as field:
            await field.create("closed", delay_spec())
            await field.until_told("closed", lambda told: bool(warnings(told)), what="the warning")
            assert not field.own_requests

    asyncio.run(scenario())


def test_deleting_heals_first_and_then_lets_the_object_go(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "deleted") as field:
            await field.create("deleted", delay_spec())
            await field.until_condition("deleted", "AllInjected")
            await field.delete("deleted")
            for pod in ("a-0", "a-1"):
                assert [bool(request["tcs"]) for request in field.asked(pod)] == [True, False]
            await field.until_told(
                "deleted", lambda told: "Deleted" in reasons(told), what="its deletion to be told"
            )

    asyncio.run(scenario())


def test_a_deletion_between_the_deed_and_its_record_leaves_nothing_behind(
    rig: "Rig", api: ApiProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of what was done must outlive whoever wrote the object meanwhile: else nobody undoes it."""

    async def scenario() -> None:
        async with rig.field(api, "raced") as field:
            carry_out = Hands.carry_out
            raced: list[Commit] = []

            async def and_then_it_is_deleted(hands: Hands, decision: Any, *more: Any) -> Any:
                outcome = await carry_out(hands, decision, *more)
                if isinstance(decision, Commit) and not raced:
                    raced.append(decision)
                    await field.kube.delete(field.kinds["raced"], field.namespace, "raced")
                return outcome

            monkeypatch.setattr(Hands, "carry_out", and_then_it_is_deleted)
            await field.create("raced", delay_spec())
            await field.until_gone("raced")
            assert raced
            found, _ = await field.kube.list(POD_NETWORK_CHAOS, field.namespace)
            assert found
            assert not any(network.get("spec", {}).get("tcs") for network in found), (
                "a fault was left in place"
            )

    asyncio.run(scenario())


def test_a_daemon_error_is_retried_and_shown_and_stops_being_one(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "daemonerr") as field:
            field.daemon.fails = "no such device"
            await field.create("daemonerr", delay_spec(mode="one"))
            found = await field.until(
                "daemonerr",
                lambda item: len(events_of(item)) >= 3,
                what="three failed tries",
            )
            assert only_record(found)["phase"] == "Not Injected/Wait"
            assert rig.true_conditions(found) == ["Selected"]
            last = events_of(found)[-1]
            assert (last["type"], last["operation"]) == ("Failed", "Apply")
            assert "unable to set tcs for pod" in last["message"]
            field.daemon.fails = ""
            await field.until_condition("daemonerr", "AllInjected")

    asyncio.run(scenario())


def test_a_failing_experiment_is_tried_with_growing_pauses(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "paced") as field:
            field.daemon.unknown = True
            started_s = time.monotonic()
            await field.create("paced", delay_spec(mode="one"))
            await field.until("paced", lambda item: len(events_of(item)) >= 9, what="nine failed tries")
            # 5 ms doubling: the ninth failure comes after 0.6 s at the earliest if two of them share a pause.
            assert time.monotonic() - started_s > 0.3
            field.daemon.unknown = False
            await field.delete("paced")

    asyncio.run(scenario())


def events_of(found: Object) -> list[Object]:
    records = ((found.get("status") or {}).get("experiment") or {}).get("containerRecords") or [{}]
    events: list[Object] = records[0].get("events") or []
    return events


def test_a_pod_deleted_while_injected_stays_a_record_and_does_not_hold_the_experiment(
    rig: "Rig", api: ApiProcess
) -> None:
    async def scenario() -> None:
        async with rig.field(api, "podgone") as field:
            await field.create("podgone", delay_spec())
            await field.until_condition("podgone", "AllInjected")
            await field.kube.delete(PODS, field.namespace, "a-0", grace_s=0)

            async def collected() -> bool:
                items, _ = await field.kube.list(POD_NETWORK_CHAOS, field.namespace)
                return [item["metadata"]["name"] for item in items] == ["a-1"]

            await wait_until_async(collected, what="the pod's network object to be collected", timeout_s=30)
            assert "AllInjected" in rig.true_conditions(await field.chaos("podgone"))
            await field.delete("podgone")

    asyncio.run(scenario())


@pytest.mark.parametrize("action", ["loss", "bandwidth"])
def test_an_action_without_its_block_says_so_and_is_never_injected(
    rig: "Rig", api: ApiProcess, action: str
) -> None:
    async def scenario() -> None:
        async with rig.field(api, f"blockless-{action}") as field:
            spec = {name: value for name, value in delay_spec().items() if name != "delay"}
            await field.create("blockless", {**spec, "action": action})
            found = await field.until("blockless", lambda item: bool(events_of(item)), what="a failure")
            assert "required" in events_of(found)[0]["message"]
            assert only_record(found)["phase"] == "Not Injected"
            assert not field.own_requests
            await field.delete("blockless")

    asyncio.run(scenario())


def test_a_restarted_mesh_goes_on_and_tells_a_forgetful_daemon_again(rig: "Rig", api: ApiProcess) -> None:
    async def scenario() -> None:
        async with rig.field(api, "restart", run=False) as field:
            async with asyncio.TaskGroup() as tasks:
                first = tasks.create_task(run_mesh(api.kubeconfig, field.daemon, clock=SystemClock(), seed=1))
                await field.create("restart", delay_spec(mode="one"))
                await field.until_condition("restart", "AllInjected")
                first.cancel()
            field.daemon.asked.clear()
            async with asyncio.TaskGroup() as tasks:
                second = tasks.create_task(
                    run_mesh(api.kubeconfig, field.daemon, clock=SystemClock(), seed=1)
                )

                async def told_again() -> bool:
                    return any(request["tcs"] for request in field.own_requests)

                await wait_until_async(told_again, what="the daemon to be told again", timeout_s=30)
                await field.delete("restart")
                second.cancel()
            assert not field.own_requests[-1]["tcs"]

    asyncio.run(scenario())
