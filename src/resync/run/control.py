"""The Chaos Toolkit control that makes `chaos run` honest.

Declare it once, at the top of every experiment:

    "controls": [{"name": "resync", "provider": {"type": "python", "module": "resync.run.control"}}]

Chaos Toolkit swallows every exception of a control but InterruptExecution, calls some hooks and not others
depending on how a run ends, and exits 0 for much that is no success (measured on lib 1.44). So each hook
below does its work inside `_guarded`, which turns an exception into evidence; every hook that was called
leaves a mark; and at the end a run whose marks are not all there is void: a hook that was replaced, misspelt
or dropped cannot go unnoticed. The exit code is 2 from `configure_control` on, until the verdict says
otherwise (resync.run.exits).

`**_` in every signature: Chaos Toolkit passes the arguments declared in the file to every hook, and silently
drops a hook that does not take them.
"""

import functools
import os
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, ParamSpec

from chaoslib.exceptions import InterruptExecution

from resync.run import courses, hooks, records, runs
from resync.run.errors import RunError
from resync.run.exits import EXIT
from resync.run.watching import Watcher

__all__ = [
    "after_activity_control",
    "after_experiment_control",
    "after_hypothesis_control",
    "after_method_control",
    "after_rollback_control",
    "before_activity_control",
    "before_experiment_control",
    "before_hypothesis_control",
    "before_method_control",
    "before_rollback_control",
    "cleanup_control",
    "configure_control",
]

P = ParamSpec("P")
Json = Mapping[str, Any]


def _guarded(*, interrupts: bool) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Mark the hook as called, and turn what it raises into evidence.

    With `interrupts` the run stops as well; the others run where stopping is ignored (or would lose the
    journal).
    """

    def decorate(hook: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(hook)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
            EXIT.arm()
            try:
                hook(*args, **kwargs)
            except InterruptExecution:
                raise
            except Exception as error:
                _failed(hook.__name__, error)
                if interrupts:
                    raise InterruptExecution(str(error)) from error
            finally:
                hooks.mark(hook.__name__)

        return wrapped

    return decorate


def _failed(hook: str, error: Exception) -> None:
    run = runs.armed()
    if run is None:
        return
    if isinstance(error, RunError):
        run.void_for(hook, error)
    else:
        run.note(records.HookFailed(at=run.now_s(), hook=hook, error=repr(error)))


@_guarded(interrupts=True)
def configure_control(
    configuration: MutableMapping[str, Any],
    experiment: Json,
    event_registry: Any = None,
    **_: object,
) -> None:
    """Arm: run id, evidence file, exit code 2, our signal handlers."""
    run = courses.arm(experiment, source=_source())
    configuration["run_id"] = run.id
    if event_registry is not None:
        event_registry.register(Watcher())


@_guarded(interrupts=True)
def before_experiment_control(context: Json, configuration: MutableMapping[str, Any], **_: object) -> None:
    """Preflight: options, target, lease, targets, metrics, baseline. Void and out when one is missing."""
    run = courses.arm(context, source=_source())
    configuration["run_id"] = run.id
    courses.begin(run, context, configuration, environment=os.environ)


@_guarded(interrupts=True)
def before_hypothesis_control(**_: object) -> None:
    """Say which steady state this is: before the method or after it."""
    courses.enter("hypothesis")


@_guarded(interrupts=True)
def after_hypothesis_control(state: Json | None = None, **_: object) -> None:
    """Note what Chaos Toolkit made of the probes."""
    courses.hypothesis_done(state)


@_guarded(interrupts=True)
def before_method_control(**_: object) -> None:
    """From here on activities belong to the method."""
    courses.enter("method")


@_guarded(interrupts=True)
def after_method_control(**_: object) -> None:
    """Heal what the method has not: the steady state after it is judged without a fault."""
    courses.heal_if_due("control")


@_guarded(interrupts=True)
def before_rollback_control(**_: object) -> None:
    """From here on activities belong to the rollbacks."""
    courses.enter("rollbacks")


@_guarded(interrupts=True)
def after_rollback_control(**_: object) -> None:
    """Heal what a rollback has not."""
    courses.heal_if_due("control")


@_guarded(interrupts=True)
def before_activity_control(**_: object) -> None:
    """Count: an activity began."""
    hooks.count("begun")


@_guarded(interrupts=True)
def after_activity_control(context: Json, state: Json | None = None, **_: object) -> None:
    """Count, note a failure, and stop a method whose fault cannot be trusted any more."""
    hooks.count("ended")
    courses.activity_done(context, state)


@_guarded(interrupts=False)
def after_experiment_control(state: MutableMapping[str, Any] | None = None, **_: object) -> None:
    """Heal, check for residue, judge, and make the journal say the same as the verdict."""
    try:
        courses.wind_up()
        if state is not None:
            courses.write_into_journal(state)
    finally:
        courses.hold_signals()


@_guarded(interrupts=False)
def cleanup_control() -> None:
    """Heal when nothing else was called.

    After a tolerance that crashed, this is all Chaos Toolkit still does.
    """
    try:
        courses.wind_up()
    finally:
        courses.hold_signals()


def _source() -> str:
    import click

    context = click.get_current_context(silent=True)
    return str(context.params.get("source", "")) if context is not None else ""
