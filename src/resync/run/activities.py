"""What the functions in probes/ and actions/ share.

Find the run, do the step, and turn trouble into evidence.

An activity of ours either returns a finite number or a bool, or raises. Chaos Toolkit turns what is raised
into a failed activity and drops the rest, so the reason and the next step are noted first.
"""

import math
from collections.abc import Callable

from resync.run import recovering, runs
from resync.run.claims import judge_pods
from resync.run.errors import RunError
from resync.run.judgements import Judgement
from resync.run.observations import Phase
from resync.run.records import PodsListed
from resync.run.runs import Run, measured_value


def step(run_id: str, name: str, work: Callable[[Run], float], *, begun: bool = True) -> float:
    """Do one step of the run. Raises RunError, noted in the evidence first when there is a run."""
    run = runs.current(run_id, begun=begun)
    try:
        value = work(run)
    except RunError as error:
        run.void_for(name, error)
        raise
    if not math.isfinite(value):
        raise AssertionError(f"{name} answered {value}: a probe answers with a finite number")
    return value


def steady_phase(run: Run) -> Phase:
    """Which samples a hypothesis probe is about: those before the fault, or those after it."""
    if run.plan is None:
        return "baseline"
    if "after" not in run.samples:
        recovering.after(run)
    return "after"


def judged(run_id: str, claim: str, phase: Phase | None) -> float:
    """The value of a claim in a phase; None is the steady state now. Raises RunError when not measured."""
    return step(run_id, claim, lambda run: measured_value(run.judged(claim, phase or steady_phase(run))))


def engines_running(run: Run) -> Judgement:
    """All engines Running and Ready, none restarted since the run began; noted."""
    phase: Phase = "before" if run.plan is None else "after"
    pods, gateways = run.must_world().engines(), run.must_world().gateways()
    run.note(PodsListed(at=run.now_s(), phase=phase, pods=pods, gateways=gateways))
    found = judge_pods(pods, run.engines, phase, allowed=run.profile.pods, touched=run.touched())
    run.note_judged(found)
    return found
