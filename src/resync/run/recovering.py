"""After the fault: wait until every engine's index is right and complete again, hold, and audit.

The wait is for the claim itself, on the samples the verdict will use: applied equals published, divergence 0,
and it stays so. Not within the limit is an answer too (the system never converged), so the wait does not
raise for it.
"""

import contextlib

from resync.kits.waits import WaitTimeoutError, wait_until
from resync.run.convergences import HELD_S, convergence
from resync.run.errors import UnmeasuredError
from resync.run.runs import TAKEN_BY, Run
from resync.run.sampling import LOOKS_PER_SCRAPE, look, settle_s, take

MARGIN_S = 1.0
HITS = "resync_load_allowed_hits_total"
AFTER_HITS_MIN = 20
PHASE_SCRAPES = 2.0
QUESTIONS = ("resync_published_sequence", "resync_applied_sequence", "resync_divergence_blocks")


def settle(run: Run) -> None:
    """Wait for convergence and take the samples of the recovery, which reach back to the injection."""
    if run.healed_s is None or run.injected is None:
        raise UnmeasuredError("the fault was not healed, so nothing can recover", next_step=TAKEN_BY["fault"])
    since_s = run.healed_s
    limit_s = run.context("recovery").convergence_limit_s + HELD_S + MARGIN_S

    def converged() -> bool:
        now_s = run.now_s()
        samples = look(run, QUESTIONS, (since_s, now_s))
        seen = [convergence(samples, p.pod_key, since_s) for p in run.engines]
        times = [c.latest_s for c in seen if c is not None and c.latest_s is not None]
        held = len(times) == len(run.engines) and now_s - since_s - max(times) >= HELD_S
        run.converged_at_s = since_s + max(times) if held else None
        return held

    # Not in time is an answer: the claim gives it, with names and numbers.
    with contextlib.suppress(WaitTimeoutError):
        wait_until(converged, what="every engine to converge", timeout_s=limit_s, every_s=0.25)
    take(run, "recovery", (run.injected.created_s, run.now_s()))


def after(run: Run) -> None:
    """Take the samples of the steady state after the fault.

    Half as long as the baseline, at least two settle times, and until enough hits were there to be routed:
    of five, one that went astray is no share of anything.
    """
    if run.healed_s is None:
        raise UnmeasuredError(
            "the fault was not healed, so there is no steady state after it", next_step=TAKEN_BY["fault"]
        )
    interval_s = run.must_world().interval_s()
    # The gateway is scraped at another moment than the observer that saw it converge.
    caught_up_s = (run.converged_at_s or 0.0) + PHASE_SCRAPES * interval_s
    start_s = max(run.path_back_s or run.healed_s, caught_up_s)
    length_s = max(2 * settle_s(interval_s), run.must_settings().baseline_s / 2)
    _hits_counted(run, start_s)
    take(run, "after", (start_s, max(start_s + length_s, run.now_s())))


def _hits_counted(run: Run, since_s: float) -> None:
    def enough() -> bool:
        seen = look(run, (HITS,), (since_s, run.now_s()))
        return (
            sum(max(v) - min(v) for s in seen.all(HITS) if (v := [v for _, v in s.points])) >= AFTER_HITS_MIN
        )

    # A load that sends too little is said by its claim.
    limit_s, every_s = run.must_settings().steady_limit_s, run.must_world().interval_s() / LOOKS_PER_SCRAPE
    with contextlib.suppress(WaitTimeoutError):
        wait_until(enough, what="hits to be routed", timeout_s=limit_s, every_s=every_s)
