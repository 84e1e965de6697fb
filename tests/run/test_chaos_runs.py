"""Whole `chaos run`s over the made world: no trap of Chaos Toolkit exits 0, and all end healed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resync.run.hooks import HOOKS
from resync.run.records import HEALTHY_KINDS, kind_of

pytestmark = [pytest.mark.integration]

Ran = Any
Bench = Any
Change = Callable[[dict[str, Any]], object]

WRONG = {"kind": "phantom", "pod": "default/engine-1", "count": 3}


def raising(name: str, kind: str = "probe") -> dict[str, Any]:
    """An activity that fails."""
    provider = {"type": "python", "module": "os", "func": "listdir", "arguments": {"path": "/no/such/place"}}
    return {"type": kind, "name": name, "provider": provider}


def quiet(ran: Ran) -> bool:
    """No traceback reached the user."""
    return "Traceback" not in ran.stderr + ran.stdout


def test_a_healthy_run_passes_with_one_line_and_all_kinds_of_evidence(bench: Bench) -> None:
    ran = bench.run()
    assert ran.code == 0, ran.stderr
    assert ran.line["verdict"] == "pass"
    assert ran.line["target"] == "lab"
    assert Path(ran.line["evidence"]).is_file()
    assert {kind_of(r) for r in ran.records()} == set(HEALTHY_KINDS)
    assert "The system held" in ran.stderr
    assert ran.healed
    assert quiet(ran)
    journal = json.loads((bench.directory / "journal.json").read_text())
    assert (journal["status"], journal["deviated"]) == ("completed", False)
    assert journal["resync"]["verdict"] == "pass"


def test_a_defect_fails_with_kind_pod_and_count(bench: Bench) -> None:
    ran = bench.run(knobs={"divergence": WRONG})
    assert ran.code == 1
    assert "3 phantom blocks on default/engine-1" in ran.line["reason"]
    assert ran.healed
    assert json.loads((bench.directory / "journal.json").read_text())["deviated"] is True


VOIDS: dict[str, tuple[dict[str, object], str]] = {
    "nothing selected": ({"nothing_selected": True}, "matches no pod"),
    "not opted in": ({"not_opted_in": True}, "has not agreed"),
    "prometheus down": ({"prometheus_down": True}, "Prometheus does not answer"),
    "interval too long": ({"interval_s": 30.0}, "scrapes every 30 s"),
    "no positive control": ({"no_control": True}, "planted divergence"),
    "live residue": ({"residue": "live"}, "still stands"),
    "lease held": ({"lease_held": True}, "another run"),
    "a metric does not move": ({"lacks": "resync_load_sent_total"}, "resync_load_sent_total"),
    "no effect": ({"no_effect": True}, "reports the fault injected"),
    "effect lost": ({"effect_lost_after_s": 1.2, "duration_s": 3.5}, "lost its effect"),
    "prometheus dies": (
        {"prometheus_dies_after_s": 1.0, "duration_s": 7.0},
        "nothing could be seen|does not answer",
    ),
    "injection fails": ({"inject_fails": True}, "did not inject"),
    "wrong before": ({"divergence": {**WRONG, "always": True}}, "not steady before"),
    "partial audit": ({"audited": 0}, "gateways audited"),
}


@pytest.mark.parametrize(("knobs", "says"), VOIDS.values(), ids=VOIDS)
def test_a_run_that_proves_nothing_exits_2_with_one_reason_and_is_healed(
    bench: Bench, knobs: dict[str, object], says: str
) -> None:
    ran = bench.run(knobs=knobs)
    assert ran.code == 2, ran.line
    assert any(part in ran.line["reason"] for part in says.split("|")), ran.line["reason"]
    assert ran.line["next_step"]
    assert ran.healed
    assert quiet(ran)


def test_expired_residue_is_swept_reported_and_no_obstacle(bench: Bench) -> None:
    ran = bench.run(knobs={"residue": "expired"})
    assert ran.code == 0, ran.stderr
    assert "residue-swept" in {kind_of(r) for r in ran.records()}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--dry", "activities"), "--dry"),
        (("--dry", "probes"), "--dry"),
        (("--dry", "actions"), "--dry"),
        (("--dry", "pause"), "--dry"),
        (("--rollback-strategy", "never"), "rollback strategy"),
        (("--rollback-strategy", "deviated"), "rollback strategy"),
        (("--no-validation",), "--no-validation"),
        (("--hypothesis-strategy", "after-method-only"), "hypothesis strategy"),
        (("--hypothesis-strategy", "continuously"), "hypothesis strategy"),
        (("--hypothesis-strategy", "during-method-only", "--fail-fast"), "hypothesis strategy"),
    ],
    ids=" ".join,
)
def test_an_option_that_proves_nothing_is_void(bench: Bench, options: tuple[str, ...], says: str) -> None:
    ran = bench.run(*options)
    assert ran.code == 2
    assert says in ran.line["reason"]
    assert "fault-planned" not in {kind_of(r) for r in ran.records()}


def test_a_file_without_rollbacks_always_is_void(bench: Bench) -> None:
    del bench.experiment["runtime"]
    ran = bench.run()
    assert ran.code == 2
    assert "rollback strategy" in ran.line["reason"]


def test_an_activity_on_the_users_own_cluster_is_refused_before_the_injection(bench: Bench) -> None:
    stray = raising("count-my-pods")
    stray["provider"] = {
        "type": "python",
        "module": "chaosk8s.pod.probes",
        "func": "pods_in_phase",
        "arguments": {"label_selector": "app=vllm"},
    }
    bench.experiment["method"].append(stray)
    ran = bench.run()
    assert ran.code == 2
    assert "chaosk8s" in ran.line["reason"]
    assert "fault-planned" not in {kind_of(r) for r in ran.records()}


@pytest.mark.parametrize(
    ("hook", "how"),
    [
        *((hook, "raises") for hook in HOOKS),
        ("configure_control", "signature"),
        ("before_experiment_control", "missing"),
        ("after_hypothesis_control", "signature"),
        ("after_experiment_control", "missing"),
    ],
)
def test_a_broken_hook_never_exits_0(bench: Bench, hook: str, how: str) -> None:
    bench.experiment["controls"][0]["provider"]["module"] = "brokencontrol"
    bench.environment |= {"BROKEN_HOOK": hook, "BROKEN_HOW": how}
    ran = bench.run()
    assert ran.code != 0
    assert ran.healed


@pytest.mark.parametrize(
    "inside", ["arm", "begin", "enter", "hypothesis_done", "heal_if_due", "count", "activity_done", "wind_up"]
)
def test_an_exception_inside_a_hook_never_exits_0(bench: Bench, inside: str) -> None:
    bench.experiment["controls"][0]["provider"]["module"] = "brokencontrol"
    bench.environment |= {"BROKEN_HOOK": "", "BROKEN_HOW": "inside", "BROKEN_INSIDE": inside}
    ran = bench.run()
    assert ran.code != 0
    assert inside in {"arm", "wind_up"} or ran.healed


@pytest.mark.parametrize("module", ["no.such.module", None])
def test_a_missing_control_never_exits_0(bench: Bench, module: str | None) -> None:
    if module is None:
        del bench.experiment["controls"]
    else:
        bench.experiment["controls"][0]["provider"]["module"] = module
    ran = bench.run()
    assert ran.code == 2
    assert "no run is armed" in ran.stderr
    assert not (bench.directory / "runs").exists()


CHANGES: dict[str, tuple[Change, set[int]]] = {
    "an action fails": (lambda e: e["method"].insert(1, raising("fails", "action")), {2}),
    "a probe of the method fails": (lambda e: e["method"].append(raising("fails")), {2}),
    "a rollback fails": (lambda e: e["rollbacks"].append(raising("fails", "action")), {2}),
    "a hypothesis probe fails": (
        lambda e: e["steady-state-hypothesis"]["probes"].append({**raising("fails"), "tolerance": True}),
        {2},
    ),
    "a tolerance crashes": (
        lambda e: e["steady-state-hypothesis"]["probes"].append(
            {
                **raising("answers-none"),
                "provider": {"type": "python", "module": "gc", "func": "collect", "arguments": {}},
                "tolerance": {"type": "regex", "pattern": "a"},
            }
        ),
        {2},
    ),
    "the method heals nothing": (lambda e: e["method"].__delitem__(2), {0, 2}),
    "the method injects nothing": (lambda e: e["method"].__delitem__(0), {2}),
    "the method watches nothing": (lambda e: e["method"].__delitem__(1), {2}),
    "there is no method": (lambda e: e.update(method=[]), {2}),
    "there is no hypothesis": (lambda e: e.pop("steady-state-hypothesis"), {1, 2}),
    "the run id is not passed": (
        lambda e: e["steady-state-hypothesis"]["probes"][0]["provider"]["arguments"].update(
            run_id="${other}"
        ),
        {2},
    ),
}


@pytest.mark.parametrize(("change", "codes"), CHANGES.values(), ids=CHANGES)
def test_a_damaged_experiment_never_exits_0_and_is_healed(
    bench: Bench, change: Change, codes: set[int]
) -> None:
    change(bench.experiment)
    ran = bench.run()
    assert ran.code in codes, ran.line
    assert ran.healed


def test_a_tolerance_that_crashes_after_the_injection_is_healed_and_says_so(bench: Bench) -> None:
    """The worst case of Chaos Toolkit: traceback, no journal, no rollbacks, whatever the strategy."""
    probe = raising("answers-none-the-second-time")
    (bench.directory / "twice.py").write_text(
        "seen = []\ndef once():\n    seen.append(1)\n    return 'yes' if len(seen) == 1 else None\n"
    )
    probe["provider"] = {"type": "python", "module": "twice", "func": "once", "arguments": {}}
    probe["tolerance"] = {"type": "regex", "pattern": "yes"}
    bench.experiment["steady-state-hypothesis"]["probes"].append(probe)
    bench.environment["PYTHONPATH"] = f"{bench.bench}:{bench.directory}"
    ran = bench.run()
    assert ran.code == 2
    assert ran.healed
    assert quiet(ran)
    assert not (bench.directory / "journal.json").exists()


def test_healing_that_fails_twice_is_tried_again_on_the_way_out(bench: Bench) -> None:
    ran = bench.run(knobs={"heal_fails": 2})
    assert ran.code == 2
    assert ran.healed


def test_a_fault_that_cannot_be_healed_is_void_and_names_the_residue(bench: Bench) -> None:
    ran = bench.run(knobs={"heal_fails": 99})
    assert ran.code == 2
    assert any("was not seen healed" in reason for reason in ran.line["voids"])
    assert ran.line["next_step"] == "sweep it"


def test_an_unwritable_runs_directory_is_void_before_anything_happens(bench: Bench) -> None:
    blocked = bench.directory / "blocked"
    blocked.write_text("a file, not a directory")
    bench.environment["RESYNC_RUNS_DIR"] = str(blocked)
    ran = bench.run()
    assert ran.code == 2
    assert ran.healed


def test_an_unwritable_journal_does_not_change_the_verdict(bench: Bench) -> None:
    ran = bench.run("--journal-path", "/no/such/directory/journal.json")
    assert ran.code == 2, "Chaos Toolkit crashed after the run: void, and nobody may take it for a pass"
    assert quiet(ran)


@pytest.mark.parametrize("target", ["moon", "LAB "])
def test_a_target_nobody_knows_is_void(bench: Bench, target: str) -> None:
    bench.environment["RESYNC_TARGET"] = target
    ran = bench.run()
    assert ran.code == 2
    assert "RESYNC_TARGET" in ran.line["reason"]


def test_inside_a_pod_the_target_has_to_be_said(bench: Bench) -> None:
    bench.environment["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
    ran = bench.run()
    assert ran.code == 2
    assert "inside a pod" in ran.line["reason"]
