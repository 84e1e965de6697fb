"""Inject, prove, watch, heal: what a run does with its fault.

The plan is in the evidence before the fault is in the cluster, so that whoever finds the file of a killed run
knows what to look for. A fault that was created may stand even when creating it raised: healing always asks
for its removal, never whether it succeeded. Removing what is not there is healing too, so it can be repeated
on every way out.

The window that is judged begins where every target was first seen to have it, and ends where all of them were
last seen so before the removal: nothing is judged that lies outside what was proven.
"""

from collections.abc import Mapping, Sequence

from resync.kits.waits import WaitTimeoutError, wait_until
from resync.run import records
from resync.run.effects import Sign
from resync.run.errors import RefusedError, UnmeasuredError
from resync.run.readings import PIECE_S, piece_length_s
from resync.run.records import Healer
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
    """Create the fault, wait until the mesh reports it everywhere, and until every target shows it.

    Raises RefusedError for a second fault, UnmeasuredError when the effect is not seen; healing is due either
    way.
    """
    if run.plan is not None:
        raise RefusedError("this run has injected a fault already", next_step="one fault per experiment")
    world = run.must_world()
    run.plan = world.plan(manifest, run.id)
    run.note(
        records.FaultPlanned(
            at=run.now_s(),
            name=run.plan.name,
            namespace=run.plan.namespace,
            plural=run.plan.plural,
            fault_kind=run.plan.fault_kind,
            duration_s=run.plan.duration_s,
        )
    )
    run.injected = world.inject(run.plan)
    run.injected_at_s = run.now_s()
    run.note(
        records.FaultInjected(
            at=run.injected_at_s,
            name=run.plan.name,
            created_s=run.injected.created_s,
            expires_s=run.injected.expires_s,
            pods=list(run.injected.pods),
        )
    )
    _prove_start(run)


def _signs(run: Run, since_s: float) -> Mapping[str, list[Sign]]:
    """What was seen of the fault since then, for every pod it is on."""
    effect, settings, baseline = run.must_effect(), run.must_settings(), run.samples["baseline"]
    seen = look(run, effect.metrics, (since_s, run.now_s()))
    return {pod: effect.signs(baseline, seen, pod, settings) for pod in run.targeted()}


def _prove_start(run: Run) -> None:
    since_s, interval_s = run.now_s(), run.must_world().interval_s()
    limit_s = max(PROOF_LIMIT_MIN_S, PROOF_LIMIT_SCRAPES * interval_s)
    seen: dict[str, list[Sign]] = {}
    if not run.targeted():
        raise UnmeasuredError("the fault is on no engine", next_step="correct the manifest's selectors")

    def all_show() -> bool:
        seen.update(_signs(run, since_s))
        return all(_showing(seen[pod]) for pod in run.targeted())

    try:
        wait_until(all_show, what="every target to show it", timeout_s=limit_s, every_s=interval_s / 2)
    except WaitTimeoutError as error:
        pod = next((p for p in run.targeted() if not _showing(seen.get(p, []))), run.targeted()[0])
        raise UnmeasuredError(
            f"the mesh reports the fault injected, but {_last_words(pod, seen.get(pod, []))}",
            next_step="see that the mesh really does to these pods what it reports",
        ) from error
    run.proven_from_s = max(_showing(seen[pod])[0].at_s for pod in run.targeted())
    run.note(records.EffectProven(at=run.now_s(), stage="start", pods=list(run.targeted())))


def _showing(signs: Sequence[Sign]) -> Sequence[Sign]:
    """The newest signs, as far back as all of them show: a mesh may report a moment before it has acted."""
    against = [i for i, sign in enumerate(signs) if not sign.shows]
    return signs[against[-1] + 1 :] if against else signs


def _last_words(pod: str, signs: Sequence[Sign]) -> str:
    against = [sign for sign in signs if not sign.shows]
    return against[-1].says if against else f"nothing was seen of it at {pod}"


def watch(run: Run) -> float:
    """Look at the fault until it has stood long enough, a guard before its expiry.

    Returns the seconds proven.

    Raises UnmeasuredError as soon as the effect is gone, or when nothing can be seen for too long.
    """
    if run.injected is None or run.proven_from_s is None:
        raise UnmeasuredError(
            "no fault was proven, so there is nothing to watch",
            next_step="let an action of the method inject one before this probe",
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
    """The time of the newest proof; raises when a pod shows the contrary or nothing was seen for too long."""
    since_s = max(run.proven_from_s or 0.0, run.now_s() - piece_length_s(run.must_world().interval_s()) * 2)
    try:
        seen = _signs(run, since_s)
    except UnmeasuredError as error:
        if run.now_s() - last_seen_s > BLIND_LIMIT_S:
            raise UnmeasuredError(
                f"nothing could be seen of the fault for {run.now_s() - last_seen_s:.1f} s: {error}",
                next_step=error.next_step,
            ) from error
        return last_seen_s
    for pod, signs in seen.items():
        if not all(sign.shows for sign in signs):
            raise UnmeasuredError(
                f"the fault lost its effect before the window ended: {_last_words(pod, signs)}",
                next_step="see in the mesh's log why it ended early; nothing else may delete faults",
            )
    return min((signs[-1].at_s for signs in seen.values() if signs), default=last_seen_s)


def _still_there(run: Run) -> bool:
    if run.plan is None:
        return False
    lost = run.must_world().lease_lost()
    if lost:
        raise UnmeasuredError(
            f"another run may be in this namespace: {lost}",
            next_step="let one run end before the next begins",
        )
    return run.must_world().present(run.plan)


def _close_window(run: Run, looks: int, *, present: bool) -> float:
    start_s = run.proven_from_s or run.now_s()
    piece_s = piece_length_s(run.must_world().interval_s())
    seen = _signs(run, max(start_s, run.now_s() - 2 * piece_s))
    silent = [pod for pod, signs in seen.items() if not signs]
    if silent:
        raise UnmeasuredError(
            f"the effect on {silent[0]} was not seen just before healing",
            next_step="see that the gateway runs and is scraped",
        )
    end_s = min(signs[-1].at_s for signs in seen.values())
    run.note(records.EffectProven(at=run.now_s(), stage="end", pods=list(run.targeted())))
    run.observed = (start_s, end_s)
    run.note(records.WindowObserved(at=run.now_s(), window=run.observed, looks=looks, present=present))
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
        records.FaultHealed(
            at=run.now_s(),
            name=plan.name,
            by=by,
            requested_s=requested_s,
            gone_s=run.healed_s or run.now_s(),
            path_back_s=run.path_back_s,
        )
    )


def _path_back(run: Run, gone_s: float) -> float | None:
    """When every target was as before again, None when that was not seen in time: the evidence says so."""
    effect, settings, baseline = run.must_effect(), run.must_settings(), run.samples["baseline"]
    limit_s = PATH_BACK_LIMIT_S + run.profile.late_s(run.stood_s(), settings.restart_limit_s)

    def back() -> float | None:
        seen = look(run, effect.metrics, (gone_s, run.now_s()))
        times = [effect.back(baseline, seen, pod, settings) for pod in run.targeted()]
        known = [t for t in times if t is not None]
        return max(known) if len(known) == len(times) else None

    try:
        return wait_until(back, what="the data path to be back", timeout_s=limit_s, every_s=0.1)
    except (WaitTimeoutError, UnmeasuredError) as error:
        run.void(
            "heal",
            f"the fault is gone, but the data path was not seen to be back: {error}",
            "run `resync sweep`",
        )
        return None
