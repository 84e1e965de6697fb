"""The course of a run: what happens between the hooks of the control, in order.

    arm -> begin (options, where, lease, preflight, baseline) -> hypothesis -> method -> heal -> hypothesis ->
    rollbacks
        -> wind_up (heal, residue, lease) -> the exit hook: verdict, end record, lab down, one line, one
        sentence

Every step may be skipped by a signal, a crash or an exception; `wind_up` and the exit hook are reached on
every way out but SIGKILL, do only what has not been done, and are what keeps the promise "always healed".
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import click

from resync.kits.shields import Shield
from resync.run import faulting, hooks, preflight, records, runs, settings
from resync.run.errors import RefusedError, RunError
from resync.run.exits import EXIT, VOID_CODE
from resync.run.joining import Lab, LabState, join_or_start
from resync.run.observations import ProbeSeen
from resync.run.records import Healer
from resync.run.runs import Run
from resync.run.settings import Target
from resync.run.verdict import Ruling, Verdict, rule
from resync.run.where import refuse_strays, target_of
from resync.run.worlds import World

Json = Mapping[str, Any]
Opening = Callable[[settings.Settings], World]

STEADY_STATES = 2
FATAL_MODULES = ("actions.", "probes.effect")
"""When one of these fails in the method, going on would judge a fault that is not what it should be."""


class _Course:
    """What one process remembers between hooks."""

    def __init__(self) -> None:
        self.section = "experiment"
        self.runtime: dict[str, str] = {}
        self.lab: Lab | None = None
        self.wound_up = False
        self.hypotheses = 0


_course = _Course()


def open_world(parsed: settings.Settings, shield: Shield) -> World:
    """The real world: a Kubernetes API and a Prometheus, each question to them asked inside `shield`."""
    # Imported here: `chaos validate` imports the control and needs neither client.
    from resync.run.clusterworld import ClusterWorld

    return ClusterWorld(parsed, shield)


def join_lab() -> Lab:
    """The running lab, or one of our own; while that comes up, what it will be asked with is imported."""
    return join_or_start(meanwhile=_import_clients)


def _import_clients() -> None:
    from resync.run import clusterworld

    clusterworld.load_clients()


def enter(section: str) -> None:
    """The section that activities belong to from now on."""
    _course.section = section
    if section == "hypothesis":
        _course.hypotheses += 1


def runtime_seen(runtime: Mapping[str, Mapping[str, str]]) -> None:
    """The strategies that are really in force."""
    _course.runtime = {key: str(value.get("strategy", "default")) for key, value in runtime.items()}


# --- the beginning


def arm(experiment: Json, *, source: str) -> Run:
    """The run of this process, armed on the first call: from here the exit code is ours."""
    run = runs.armed()
    if run is None:
        EXIT.arm()
        EXIT.decide_with(_ending, _crashed)
        run = runs.start(experiment=str(experiment.get("title", "")), source=source, pid=os.getpid())
        run.stalls.start()
    run.signals.install()
    return run


def begin(
    run: Run,
    experiment: Json,
    configuration: MutableMapping[str, Any],
    *,
    environment: Mapping[str, str],
) -> None:
    """Everything before the first probe. Raises RunError with the reason why the run is void."""
    preflight.check_options(_options(experiment), _course.runtime)
    run.target = target_of(environment)
    refuse_strays(experiment, run.target)
    known = _join(run)
    declaration = experiment.get("configuration", {})
    settings.fill(
        configuration, declaration=declaration, known=known, target=run.target, environment=environment
    )
    run.settings = settings.parse(configuration)
    configuration.update(settings.tolerances(run.settings))
    run.world = open_world(run.settings, run.signals.shielded)
    run.note(
        records.TargetJoined(
            at=run.now_s(),
            target=run.target,
            lab_started_here=_course.lab is not None and _course.lab.started_here,
            settings=run.settings,
            api_server=run.world.api_server,
        )
    )
    _take_namespace(run, run.world)
    _sweep_residue(run, run.world)
    preflight.check(run, manifest_of(experiment))
    run.begun = True


def manifest_of(experiment: Json) -> str:
    """The manifest that the method will inject; targets are frozen by it before anything is touched."""
    for activity in experiment.get("method", []):
        provider = activity.get("provider", {})
        found = provider.get("arguments", {}).get("manifest")
        if found:
            return str(found)
        if provider.get("module") == "actions.load":
            return str(provider.get("func"))
    raise RefusedError(
        "no activity of the method names a manifest, so there is nothing to prove",
        next_step="let an action of the method inject one: actions.chaos_mesh.inject, or actions.load.surge",
    )


def _options(experiment: Json) -> dict[str, object]:
    context = click.get_current_context(silent=True)
    options: dict[str, object] = dict(context.params) if context is not None else {}
    dry = experiment.get("dry")
    if dry is not None:
        options["dry"] = getattr(dry, "value", dry)
    return options


def _join(run: Run) -> Mapping[str, str]:
    if run.target is not Target.LAB:
        return {}
    _course.lab = join_lab()
    return known_of(_course.lab.state)


def known_of(lab: LabState) -> Mapping[str, str]:
    """What only the lab can say, by configuration key."""
    return {
        "kubeconfig": lab.kubeconfig,
        "prometheus_url": lab.prometheus_url,
        "namespace": lab.namespace,
        "gateway_namespace": lab.namespace,
    }


def _take_namespace(run: Run, world: World) -> None:
    with run.signals.shielded():
        world.hold_lease(run.id)
        run.leased = True
    parsed = run.must_settings()
    run.note(records.LeaseHeld(at=run.now_s(), namespace=parsed.namespace, holder=run.id))


def _sweep_residue(run: Run, world: World) -> None:
    """Expired faults of earlier runs go. Raises RefusedError for one that stands: its run may be alive."""
    left = world.left_behind()
    live = [f for f in left if not f.expired]
    if live:
        raise RefusedError(
            f"a fault of an earlier run still stands: {live[0]}",
            next_step="wait until it expires, or remove it with `resync sweep`",
        )
    for fault in left:
        world.sweep(fault)
    if left:
        run.note(records.ResidueSwept(at=run.now_s(), names=[str(f) for f in left]))


# --- along the way


def hypothesis_done(state: Json | None) -> None:
    """Note one steady state: the first is before the method, the second after it."""
    run = runs.armed()
    if run is None or state is None:
        return
    probes = [_probe_seen(p) for p in state.get("probes", [])]
    run.note(
        records.HypothesisChecked(
            at=run.now_s(),
            phase="before" if _course.hypotheses < STEADY_STATES else "after",
            met=bool(state.get("steady_state_met")),
            probes=probes,
        )
    )


def _probe_seen(probe: Json) -> ProbeSeen:
    answered = probe.get("status") == "succeeded"
    detail = f"answered {probe.get('output')!r}" if answered else _last(probe.get("exception"))
    name = str(probe.get("activity", {}).get("name", ""))
    return ProbeSeen(name=name, answered=answered, within=bool(probe.get("tolerance_met")), detail=detail)


def _last(trace: object) -> str:
    lines = [str(line).strip() for line in trace] if isinstance(trace, list) else []
    return lines[-1] if lines else "it failed"


def activity_done(activity: Json, state: Json | None) -> None:
    """Note a failed activity; stop a method that has lost its fault. Raises RefusedError to stop."""
    run = runs.armed()
    if run is None or (state is not None and state.get("status") == "succeeded"):
        return
    if state is None and run.signals.count:
        return
    name = str(activity.get("name", ""))
    error = _last(state.get("exception")) if state is not None else "it did not end"
    run.note(records.ActivityFailed(at=run.now_s(), activity=name, section=_course.section, error=error))
    module = str(activity.get("provider", {}).get("module", ""))
    if _course.section == "method" and module.startswith(FATAL_MODULES):
        raise RefusedError(f"{name!r} failed: {error}", next_step="see the first reason in the verdict")


def heal_if_due(by: Healer) -> None:
    """Heal the fault of this run unless it is healed."""
    run = runs.armed()
    if run is not None:
        faulting.heal(run, by)


# --- the end


def wind_up() -> None:
    """Heal, look for residue, give the namespace back. Does what has not been done; safe to repeat."""
    run = runs.armed()
    if run is None or run.world is None or _course.wound_up:
        return
    with run.signals.shielded():
        world = run.world
        faulting.heal(run, "control")
        left = [str(f) for f in world.left_behind() if f.run == run.id]
        run.note(records.ResidueChecked(at=run.now_s(), left=left))
        if run.leased:
            world.release_lease()
            run.note(records.LeaseReleased(at=run.now_s(), namespace=run.must_settings().namespace))
        _course.wound_up = True
        # Nothing asks it any more: it ends while the run is judged, and is waited for at the very end.
        if _course.lab is not None:
            _course.lab.dismiss()


def hold_signals() -> None:
    """A signal after the last hook waits for the last act of the process, which notes it."""
    run = runs.armed()
    if run is not None:
        run.signals.hold()


def write_into_journal(journal: MutableMapping[str, Any]) -> None:
    """Make the journal agree: Chaos Toolkit derives its own exit code and notifications from it."""
    run = runs.armed()
    if run is None:
        return
    ruling = rule(run.file.read(), ending=True)
    journal["resync"] = ruling.line(str(run.file.path))["resync"]
    if ruling.verdict is Verdict.FAIL:
        journal["deviated"] = True
    elif ruling.verdict is Verdict.VOID and journal.get("status") == "completed":
        journal["status"] = "failed"


def _crashed(error: BaseException, trace: str) -> None:
    run = runs.armed()
    if run is not None:
        run.note(records.Crashed(at=run.now_s(), error=repr(error), trace=trace))


def _ending() -> int:
    """The last act of the process: heal what is left, judge, say so. Returns the exit code."""
    run = runs.armed()
    if run is None:
        return VOID_CODE
    run.signals.take_held()
    try:
        _last_healing(run)
        run.signals.ignore()
        ruling = rule(run.file.read(), ending=True)
        if ruling.verdict is Verdict.PASS and _hooks_missed(run):
            ruling = rule(run.file.read(), ending=True)
        run.note(records.VerdictGiven(at=run.now_s(), verdict=ruling.verdict, reason=ruling.reason))
        run.note(records.RunEnded(at=run.now_s(), exit_code=ruling.verdict.exit_code))
    finally:
        run.stalls.stop()
        if _course.lab is not None:
            _course.lab.stop()
    _say(ruling, run.file.path)
    return ruling.verdict.exit_code


def _last_healing(run: Run) -> None:
    try:
        wind_up()
    except RunError as error:
        run.void_for("exit", error)


def _hooks_missed(run: Run) -> bool:
    """Whether a hook left no mark: it was replaced, misspelt or dropped, and guarded nothing."""
    missed = hooks.missed()
    if missed:
        run.void("exit", missed, "restore the control resync.run.control in the experiment")
    return bool(missed)


def _say(ruling: Ruling, path: Path) -> None:
    sys.stderr.write(f"\nresync: {ruling.sentence()}\n")
    sys.stdout.write(json.dumps(ruling.line(str(path)), allow_nan=False) + "\n")
