"""Commands about runs: `verdict`, `sweep`, `preview`, `suite`, `audit`; the console script adds them."""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

from resync.kits.shields import UNSHIELDED
from resync.run import auditing, courses, evidence, runs, settings, suites
from resync.run.errors import RunError
from resync.run.exits import VOID_CODE
from resync.run.joining import running_lab
from resync.run.judgements import Outcome
from resync.run.runs import Run
from resync.run.settings import Settings, Target
from resync.run.verdict import rule
from resync.run.where import target_of
from resync.run.worlds import World

__all__ = ["audit", "preview", "suite", "sweep", "verdict"]

P = ParamSpec("P")
AUDIT_CODES = {Outcome.HELD: 0, Outcome.BREACHED: 1}
STILL_THERE_CODE = 1


def _no_traceback(command: Callable[P, None]) -> Callable[P, None]:
    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except RunError as error:
            step = f" Next: {error.next_step}." if error.next_step else ""
            click.echo(f"resync: {error}.{step}", err=True)
            sys.exit(VOID_CODE)

    return wrapped


@click.command()
@click.argument("run", required=False)
@_no_traceback
def verdict(run: str | None) -> None:
    """Judge RUN again from its evidence (default: the newest below .resync/runs).

    RUN is a run id, a directory or an evidence file. Exit code 0 pass, 1 fail, 2 void.
    """
    path = _evidence_of(run)
    ruling = rule(evidence.read(path))
    click.echo(f"resync: {ruling.sentence()}", err=True)
    click.echo(json.dumps(ruling.line(str(path)), allow_nan=False))
    sys.exit(ruling.verdict.exit_code)


def _evidence_of(run: str | None) -> Path:
    if run is None:
        return evidence.latest_run(evidence.runs_dir())
    named = Path(run)
    for path in (named, named / evidence.FILE_NAME, evidence.runs_dir() / run / evidence.FILE_NAME):
        if path.is_file():
            return path
    return evidence.runs_dir() / run / evidence.FILE_NAME


def _settings() -> Settings:
    """The settings the environment gives, with what only the lab knows where the target is the lab."""
    target = target_of(os.environ)
    lab = running_lab() if target is Target.LAB else None
    if target is Target.LAB and lab is None:
        raise RunError("no lab runs, so there is nothing to look at", next_step="start one: resync lab up")
    configuration = {f.key: os.environ[f.env] for f in settings.FIELDS if os.environ.get(f.env)}
    known = {} if lab is None else courses.known_of(lab)
    settings.fill(configuration, declaration={}, known=known, target=target)
    return settings.parse(configuration)


def _world() -> World:
    return courses.open_world(_settings(), UNSHIELDED)


@click.command()
@click.option(
    "--all", "everything", is_flag=True, help="Also faults that have not expired: a run may be using them."
)
@_no_traceback
def sweep(everything: bool) -> None:  # noqa: FBT001 - click passes by name
    """Remove faults that earlier runs left behind, and say which. Exit code 1 when something stays."""
    world = _world()
    stayed = 0
    for fault in world.left_behind():
        if fault.expired or everything:
            world.sweep(fault)
            click.echo(f"removed {fault}")
        else:
            stayed += 1
            click.echo(f"left alone {fault}: it has not expired; --all removes it all the same")
    if not stayed:
        click.echo("nothing of ours is left")
    sys.exit(STILL_THERE_CODE if stayed else 0)


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@_no_traceback
def suite(files: tuple[Path, ...]) -> None:
    """Run the experiments in FILES one after the other on one lab, and end with the worst verdict.

    One that has to end void, and says so in its file, is void all the same: beside it stands that it had to.
    """
    came = suites.run_all(files, lambda one: click.echo(f"{one.verdict:<4}  {one.file.stem}", err=True))
    verdict_on_all = suites.worst(came)
    click.echo(f"\nresync: {verdict_on_all} ({len(came)} experiments)", err=True)
    for one in came:
        remark = f" ({one.remark})" if one.remark else ""
        click.echo(f"  {one.verdict:<4}  {one.file.stem}{remark}: {one.reason}", err=True)
    click.echo(
        json.dumps({"resync-suite": {"verdict": verdict_on_all, "experiments": [_came(c) for c in came]}})
    )
    sys.exit(verdict_on_all.exit_code)


def _came(one: suites.Came) -> dict[str, str]:
    return {"file": str(one.file), "verdict": str(one.verdict), "reason": one.reason}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@_no_traceback
def preview(file: str) -> None:
    """Name the pods that the experiment in FILE would hit today. Nothing is created."""
    try:
        experiment = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{file} is not JSON: {error}", next_step="name an experiment file") from error
    world = _world()
    plan = world.plan(courses.manifest_of(experiment), "preview")
    hit = world.hit(plan)
    click.echo(f"{plan.fault_kind} {plan.name}, at most {plan.duration_s:g} s, in namespace {plan.namespace}")
    for pod in hit.sources:
        click.echo(f"  source {pod}")
    for pod in hit.peers:
        click.echo(f"  target {pod}")


@click.command()
@_no_traceback
def audit() -> None:
    """Ask the gateway for prompts that one engine holds, and say how many it routes there. No fault.

    Needs nothing of the gateway but `target-pod` in its answers, so it serves for a foreign one. The evidence
    goes below .resync/audits. Exit code 0 held, 1 breached, 2 not told.
    """
    run_id = runs.new_id()
    parsed = _settings()
    world = courses.open_world(parsed, UNSHIELDED)
    run = Run(evidence.EvidenceFile(_audits_dir() / run_id / evidence.FILE_NAME), run_id)
    run.settings, run.world = parsed, world
    run.engines, run.gateways = world.engines(), world.gateways()
    judged = auditing.audit(run, "baseline")
    click.echo(f"resync: {judged.detail}", err=True)
    said = {"outcome": judged.outcome, "value": judged.value, "limit": judged.limit, "detail": judged.detail}
    click.echo(json.dumps({"resync-audit": {**said, "evidence": str(run.file.path)}}))
    sys.exit(AUDIT_CODES.get(judged.outcome, VOID_CODE))


def _audits_dir() -> Path:
    """Beside the runs, since an audit is none: it has no verdict."""
    return evidence.runs_dir().absolute().with_name("audits")
