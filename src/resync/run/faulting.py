"""Inject, prove, watch, heal: what a run does with its fault.

The plan is in the evidence before the fault is in the cluster, so that whoever finds the file of a killed run
knows what to look for. A fault that was created may stand even when creating it raised: healing always asks
for its removal, never whether it succeeded. Removing what is not there is healing too, so it can be repeated
on every way out.

The window that is judged begins where every targeted path was first measured to be slow, and ends at the last
such measurement before the removal: nothing is judged that lies outside what was proven.
"""

from collections.abc import Mapping

from resync.kits.waits import WaitTimeoutError, wait_until
from resync.run import evidence
from resync.run.effect import (
    LEGS,
    PIECE_S,
    RTT,
    Reading,
    expected_rtt,
    fresh,
    low_ms,
    measured,
    piece_length_s,
)
from resync.run.errors import RefusedError, UnmeasuredError
from resync.run.evidence import Healer
from resync.run.runs import Run
from resync.run.sampling import look, take, wait_for_time
from resync.run.worlds import FaultPlan

PROOF_LIMIT_SCRAPES = 12.0
PROOF_LIMIT_MIN_S = 4.0
LOOKS_PER_S = 4.0
PATH_BACK_LIMIT_S = 10.0
BLIND_LIMIT_S = 3.0
"""While the fault stands, Prometheus or the API server may be silent this long before the run gives up."""


def inject(run: Run, manifest: str) -> None:
    """Create the fault, wait until the mesh reports it everywhere, and until every targeted path shows it.

    Raises RefusedError for a second fault, UnmeasuredError when the effect is not seen; healing is due either
    way.
    """
    if run.plan is not None:
        raise RefusedError("this run has injected a fault already", next_step="one fault per experiment")
    world = run.must_world()
    run.plan = world.plan(manifest, run.id)
    run.note(
        evidence.FaultPlanned(
            at=run.now_s(),
            name=run.plan.name,
            namespace=run.plan.namespace,
            plural=run.plan.plural,
            fault_kind=run.plan.fault_kind,
            duration_s=run.plan.duration_s,
        )
    )
    run.injected = world.inject(run.plan)
    run.note(
        evidence.FaultInjected(
            at=run.now_s(),
            name=run.plan.name,
            created_s=run.injected.created_s,
            expires_s=run.injected.expires_s,
            pods=list(run.injected.pods),
        )
    )
    _prove_start(run)


def _baseline_ms(run: Run) -> Mapping[str, float]:
    samples = run.samples["baseline"]
    lows: dict[str, float] = {}
    for pod in run.targeted():
        low = low_ms(fresh(measured(samples, RTT, pod), samples.window))
        if low is None:
            raise UnmeasuredError(
                f"no round trip to {pod} was measured in the baseline",
                next_step="see that the gateway exports resync_gateway_engine_rtt_seconds for every engine",
            )
        lows[pod] = low
    return lows


def _readings(run: Run, since_s: float) -> Mapping[str, list[Reading]]:
    """Round trips of every targeted pod that began after `since_s`."""
    now_s = run.now_s()
    samples = look(run, RTT, (since_s, now_s))
    return {pod: fresh(measured(samples, RTT, pod), (since_s, now_s)) for pod in run.targeted()}


def _prove_start(run: Run) -> None:
    since_s, interval_s = run.now_s(), run.must_world().interval_s()
    limit_s = max(PROOF_LIMIT_MIN_S, PROOF_LIMIT_SCRAPES * interval_s)
    seen: dict[str, list[Reading]] = {}

    def all_slow() -> bool:
        seen.update(_readings(run, since_s))
        return all(_slow_tail(run, pod, seen[pod]) for pod in run.targeted())

    try:
        wait_until(all_slow, what="every targeted path to be slow", timeout_s=limit_s, every_s=interval_s / 2)
    except WaitTimeoutError as error:
        pod = next(p for p in run.targeted() if not _slow_tail(run, p, seen.get(p, [])))
        raise UnmeasuredError(
            f"the mesh reports the fault injected, but {_path_says(run, pod, seen.get(pod, []))}",
            next_step="see that the mesh really shapes traffic between gateway and engines",
        ) from error
    run.proven_from_s = max(_slow_tail(run, pod, seen[pod])[0].done_s for pod in run.targeted())
    run.note(evidence.EffectProven(at=run.now_s(), stage="start", pods=list(run.targeted())))


def _least_ms(run: Run, pod: str) -> float:
    settings = run.must_settings()
    expected = expected_rtt(settings.direction, latency_ms=settings.latency_ms, jitter_ms=settings.jitter_ms)
    return expected.threshold_ms(_baseline_ms(run)[pod])


def _too_fast(run: Run, pod: str, taken: list[Reading]) -> bool:
    least_ms = _least_ms(run, pod)
    return any(r.took_ms < least_ms for r in taken)


def _slow_tail(run: Run, pod: str, taken: list[Reading]) -> list[Reading]:
    """The newest readings, as far back as all are slow: a mesh may report a moment before it has acted."""
    least_ms = _least_ms(run, pod)
    quick = [i for i, r in enumerate(taken) if r.took_ms < least_ms]
    return taken[quick[-1] + 1 :] if quick else taken


def _path_says(run: Run, pod: str, taken: list[Reading]) -> str:
    if not taken:
        return f"no round trip to {pod} was measured under it"
    base = _baseline_ms(run)[pod]
    return f"the round trip to {pod} is {min(r.took_ms for r in taken):.1f} ms, {base:.1f} ms before it"


def watch(run: Run) -> float:
    """Look at the fault until it has stood long enough, a guard before its expiry.

    Returns the seconds proven.

    Raises UnmeasuredError as soon as the effect is gone, or when nothing can be seen for too long.
    """
    if run.injected is None or run.proven_from_s is None:
        raise UnmeasuredError(
            "no fault was proven, so there is nothing to watch", next_step="inject it first"
        )
    end_s = run.injected.expires_s - run.must_settings().guard_s
    looks, present, last_seen_s = 0, True, run.now_s()
    while run.now_s() < end_s:
        last_seen_s = _look_once(run, last_seen_s)
        looks += 1
        if looks % int(LOOKS_PER_S) == 0:
            present = present and _still_there(run)
        wait_for_time(run, run.now_s() + 1 / LOOKS_PER_S, "the next look")
    return _close_window(run, looks, present=present)


def _look_once(run: Run, last_seen_s: float) -> float:
    """The time of the newest proof; raises when a path is fast again or none was measured for too long."""
    since_s = max(run.proven_from_s or 0.0, run.now_s() - piece_length_s(run.must_world().interval_s()) * 2)
    try:
        seen = _readings(run, since_s)
    except UnmeasuredError as error:
        if run.now_s() - last_seen_s > BLIND_LIMIT_S:
            raise UnmeasuredError(
                f"nothing could be seen of the fault for {run.now_s() - last_seen_s:.1f} s: {error}",
                next_step=error.next_step,
            ) from error
        return last_seen_s
    for pod, taken in seen.items():
        if _too_fast(run, pod, taken):
            raise UnmeasuredError(
                f"the fault lost its effect before the window ended: {_path_says(run, pod, taken)}",
                next_step="see in the mesh's log why it ended early; nothing else may delete faults",
            )
    return min((taken[-1].done_s for taken in seen.values() if taken), default=last_seen_s)


def _still_there(run: Run) -> bool:
    if run.plan is None:
        return False
    lost = run.must_world().lease_lost()
    if lost:
        raise UnmeasuredError(f"another run may be in this namespace: {lost}", next_step="run one at a time")
    return run.must_world().present(run.plan)


def _close_window(run: Run, looks: int, *, present: bool) -> float:
    start_s = run.proven_from_s or run.now_s()
    piece_s = piece_length_s(run.must_world().interval_s())
    seen = _readings(run, max(start_s, run.now_s() - 2 * piece_s))
    silent = [pod for pod, taken in seen.items() if not taken]
    if silent:
        raise UnmeasuredError(
            f"the effect on {silent[0]} was not seen just before healing",
            next_step="see that the gateway runs and is scraped",
        )
    end_s = min(taken[-1].done_s for taken in seen.values())
    run.note(evidence.EffectProven(at=run.now_s(), stage="end", pods=list(run.targeted())))
    run.observed = (start_s, end_s)
    run.note(evidence.WindowObserved(at=run.now_s(), window=run.observed, looks=looks, present=present))
    return end_s - start_s


def heal(run: Run, by: Healer) -> float:
    """Remove the fault and wait until it is gone and, after a window, until the data path is back.

    Returns the seconds that took; 0.0 when this run has no fault. Idempotent; shielded from signals.
    """
    if run.plan is None or run.healed_s is not None:
        return 0.0
    with run.signals.shielded():
        requested_s = run.now_s()
        run.must_world().heal(run.plan)
        run.healed_s = run.now_s()
        looks_back = run.observed is not None and not run.signals.count
        run.path_back_s = _path_back(run, run.healed_s) if looks_back else None
        _note_healed(run, run.plan, by, requested_s)
    return run.now_s() - requested_s


def conclude(run: Run) -> float:
    """Heal, then take the samples of the window that was observed. Returns the seconds healing took.

    When the watch gave up, what was measured until then is kept all the same: it cannot pass a run, but a
    breach in it is a breach. A run that was told to stop takes no time for that.
    """
    took_s = heal(run, "method")
    window = run.observed or _unfinished(run)
    if window is not None and "fault" not in run.samples and not run.signals.count:
        take(run, "fault", window)
    return took_s


def _unfinished(run: Run) -> tuple[float, float] | None:
    """The window from the first proof to the healing, None when there is too little of it."""
    if run.proven_from_s is None or run.healed_s is None:
        return None
    return (run.proven_from_s, run.healed_s) if run.healed_s - run.proven_from_s > PIECE_S else None


def _note_healed(run: Run, plan: FaultPlan, by: Healer, requested_s: float) -> None:
    run.note(
        evidence.FaultHealed(
            at=run.now_s(),
            name=plan.name,
            by=by,
            requested_s=requested_s,
            gone_s=run.healed_s or run.now_s(),
            path_back_s=run.path_back_s,
        )
    )


def _path_back(run: Run, gone_s: float) -> float | None:
    """When every targeted path was fast again, None when that was not seen in time: the evidence says so."""
    settings = run.must_settings()
    half_ms = settings.latency_ms * LEGS[settings.direction][1] / 2
    base = _baseline_ms(run)

    def back() -> float | None:
        seen = _readings(run, gone_s)
        quick = {pod: [r for r in taken if r.took_ms < base[pod] + half_ms] for pod, taken in seen.items()}
        return max(taken[0].done_s for taken in quick.values()) if all(quick.values()) else None

    try:
        return wait_until(back, what="the data path to be back", timeout_s=PATH_BACK_LIMIT_S, every_s=0.1)
    except (WaitTimeoutError, UnmeasuredError) as error:
        run.void(
            "heal",
            f"the fault is gone, but the data path was not seen to be back: {error}",
            "run `resync sweep`",
        )
        return None
