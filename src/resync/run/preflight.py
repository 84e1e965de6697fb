"""What must be true before a fault is injected; anything else makes the run void, with the next step.

Metrics of the system under test are evidence only after they have been seen to move. Those that move in a
healthy baseline have to do so here; those that may stay 0 (divergence, gaps) are trusted through the
observer's positive control (`resync.run.planted`).
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from resync.kits.waits import WaitTimeoutError, wait_until
from resync.run import planted, records, wireforms
from resync.run.claims import judge_all
from resync.run.errors import RefusedError
from resync.run.judgements import Outcome
from resync.run.observations import PodSeen
from resync.run.runs import Run
from resync.run.samples import Samples, Window
from resync.run.sampling import LOOKBACK_SCRAPES, ask, keep, stored_until_s
from resync.run.settings import Settings
from resync.run.worlds import World

CALM_SCRAPES = 0.5
"""How many scrapes lie between two looks for a calm baseline."""

MOVE = "see that engines, gateway, observer and load run and are scraped, then run again"


@dataclass(frozen=True, slots=True)
class MustMove:
    """A metric that has to change in the baseline, for every engine where it is about engines."""

    metric: str
    per_engine: bool
    whose: str


MUST_MOVE: tuple[MustMove, ...] = (
    MustMove("resync_published_sequence", per_engine=True, whose="the observer"),
    MustMove("resync_applied_sequence", per_engine=True, whose="the observer"),
    MustMove("resync_gateway_applied_sequence", per_engine=True, whose="the gateway"),
    MustMove("resync_gateway_applied_timestamp_seconds", per_engine=True, whose="the gateway"),
    MustMove("resync_gateway_engine_rtt_timestamp_seconds", per_engine=True, whose="the gateway"),
    MustMove("resync_last_cut_timestamp_seconds", per_engine=False, whose="the observer"),
    MustMove("resync_cuts_total", per_engine=False, whose="the observer"),
    MustMove("resync_load_sent_total", per_engine=False, whose="the load"),
)


def check_options(options: Mapping[str, object], runtime: Mapping[str, str]) -> None:
    """Raises RefusedError for an option of `chaos run` under which a run could not prove anything."""
    dry = options.get("dry")
    if dry:
        raise RefusedError(
            f"--dry {dry} executes nothing", next_step="run without --dry, or use `resync preview FILE`"
        )
    if options.get("no_validation"):
        raise RefusedError(
            "--no-validation leaves mistakes in the file unseen", next_step="run without --no-validation"
        )
    rollbacks = runtime.get("rollbacks", "default")
    if rollbacks != "always":
        raise RefusedError(
            f"the rollback strategy is {rollbacks!r}, so a fault could be left in place",
            next_step="keep runtime.rollbacks.strategy at always, and run without --rollback-strategy",
        )
    hypothesis = runtime.get("hypothesis", "default")
    if hypothesis != "default":
        raise RefusedError(
            f"the hypothesis strategy is {hypothesis!r}, so the steady state is not checked before and after",
            next_step="run without --hypothesis-strategy",
        )


def check(run: Run, manifest: str) -> None:
    """Every condition up to the baseline. Raises RefusedError or UnmeasuredError with the next step."""
    world, settings = run.must_world(), run.must_settings()
    _opted_in(run, world, settings)
    _expiry(run, settings)
    _targets(run, world, manifest)
    _prometheus(run, world, settings)
    check_mesh(run)
    _steady_metrics(run, world, settings)
    _wire_form(run, run.samples["baseline"].window, wireforms.unreadable)
    _passed(
        run, "wire-form", f"the gateway applies events of all {len(run.engines)} engines, none unreadable"
    )
    _passed(run, "positive-control", planted.prove(run))


def _passed(run: Run, name: str, detail: str) -> None:
    run.note(records.CheckPassed(at=run.now_s(), check=name, detail=detail))


def _opted_in(run: Run, world: World, settings: Settings) -> None:
    if not world.opted_in():
        raise RefusedError(
            f"the namespace {settings.namespace} has not agreed to faults",
            next_step=f"kubectl annotate namespace {settings.namespace} chaos-mesh.org/inject=enabled",
        )
    _passed(run, "opted-in", settings.namespace)


def _expiry(run: Run, settings: Settings) -> None:
    if settings.fault_duration_s > settings.fault_duration_limit_s:
        raise RefusedError(
            f"the fault would last {settings.fault_duration_s:g} s, "
            f"the limit is {settings.fault_duration_limit_s:g} s",
            next_step="shorten RESYNC_FAULT_DURATION or raise RESYNC_FAULT_DURATION_LIMIT",
        )
    _passed(
        run, "expiry", f"{settings.fault_duration_s:g} s of at most {settings.fault_duration_limit_s:g} s"
    )


def _targets(run: Run, world: World, manifest: str) -> None:
    plan = world.plan(manifest, run.id)
    hit = world.hit(plan)
    run.frozen_for(plan, hit)
    refusal = run.must_effect().refusal(run.must_settings())
    if refusal is not None:
        raise RefusedError(refusal[0], next_step=refusal[1])
    run.gateways, run.engines = world.gateways(), world.engines()
    _all_ready(run.gateways, "gateway", "RESYNC_GATEWAY_SELECTOR")
    _all_ready(run.engines, "engine", "RESYNC_ENGINE_SELECTOR")
    run.note(
        records.TargetsFrozen(
            at=run.now_s(),
            sources=list(hit.sources),
            peers=list(hit.peers),
            gateways=[p.pod_key for p in run.gateways],
            engines=[p.pod_key for p in run.engines],
            fault_kind=plan.fault_kind,
            action=plan.action,
        )
    )
    listed = records.PodsListed(
        at=run.now_s(), phase="baseline", pods=list(run.engines), gateways=list(run.gateways)
    )
    run.note(listed)


def _all_ready(pods: Sequence[PodSeen], what: str, selector_env: str) -> None:
    if not pods:
        raise RefusedError(f"no {what} pod was found", next_step=f"correct {selector_env}")
    bad = [p for p in pods if p.phase != "Running" or not p.ready]
    if bad:
        raise RefusedError(
            f"{bad[0].pod_key} is {bad[0].phase}{'' if bad[0].ready else ', not ready'} before the fault",
            next_step=f"wait until every {what} is Running and Ready, then run again",
        )


def _prometheus(run: Run, world: World, settings: Settings) -> None:
    interval_s = world.interval_s()
    if interval_s > settings.scrape_interval_limit_s:
        raise RefusedError(
            f"Prometheus scrapes every {interval_s:g} s, "
            f"the claims need {settings.scrape_interval_limit_s:g} s or less",
            next_step="scrape faster, or raise RESYNC_SCRAPE_INTERVAL_LIMIT and RESYNC_FAULT_DURATION",
        )
    _passed(run, "prometheus", f"scrapes every {interval_s:g} s")


def check_mesh(run: Run) -> None:
    """Faults must have somebody who ends them. Raises RunError when there is nobody, with the next step.

    What is asked for that is a fault object too, so it goes whatever comes in between.
    """
    world = run.must_world()
    try:
        said = world.mesh_alive(run.id)
    except BaseException:
        with run.signals.shielded():
            for left in world.left_behind():
                if left.run == run.id:
                    world.sweep(left)
        raise
    _passed(run, "mesh-alive", said)


def _wire_form(
    run: Run, window: Window, doubts: Callable[[Samples, Sequence[str]], Iterator[wireforms.Doubt]]
) -> None:
    """Raises RefusedError for the first doubt whether the gateway reads every engine's events in `window`."""
    world = run.must_world()
    interval_s = world.interval_s()
    stored = world.series(wireforms.METRICS, (window[0] - LOOKBACK_SCRAPES * interval_s, window[1]))
    taken = records.SamplesTaken(
        at=run.now_s(),
        phase="baseline",
        window=window,
        interval_s=interval_s,
        series=stored,
        instrument=[],
    )
    for reason, next_step in doubts(Samples(taken), [p.pod_key for p in run.engines]):
        raise RefusedError(reason, next_step=next_step)


def _steady_metrics(run: Run, world: World, settings: Settings) -> None:
    """Take the baseline from what is already stored: a warm lab has it, a cold one is waited for."""
    engines = [p.pod_key for p in run.engines]
    wanting = [""]

    def look() -> records.SamplesTaken | None:
        end_s = stored_until_s(run)
        taken = ask(run, "baseline", (end_s - settings.baseline_s, end_s))
        wanting[:] = list(unmoved(Samples(taken), engines))
        return None if wanting else taken

    limit_s = max(settings.steady_limit_s, 2 * settings.baseline_s)
    try:
        taken = wait_until(look, what="every metric to move", timeout_s=limit_s, every_s=world.interval_s())
    except WaitTimeoutError as error:
        # Where events cannot be decoded nothing moves either, and that says more.
        end_s = stored_until_s(run)
        _wire_form(run, (end_s - settings.baseline_s, end_s), wireforms.undecoded)
        raise RefusedError(
            f"{wanting[0]} (waited {limit_s:g} s)",
            next_step=MOVE,
        ) from error
    if taken is None:
        raise AssertionError("wait_until returned without a baseline")
    _passed(run, "metrics-move", f"{len(MUST_MOVE)} metrics moved in {settings.baseline_s:g} s")
    keep(run, _settled(run, taken))


def _settled(run: Run, first: records.SamplesTaken) -> records.SamplesTaken:
    """The first baseline in which nothing is wrong or missing, for as long as a system may take to settle.

    A pod that was replaced a moment ago is still in the last seconds of samples. A system that does not
    settle keeps its last baseline, and the steady state before the fault says what is wrong with it.
    """
    seen: list[records.SamplesTaken] = []

    def calm() -> bool:
        seen.append(_baseline_until_now(run, first) if seen else first)
        return _is_calm(run, Samples(seen[-1]))

    with contextlib.suppress(WaitTimeoutError):
        limit_s = run.must_settings().steady_limit_s
        wait_until(calm, what="a steady baseline", timeout_s=limit_s, every_s=CALM_SCRAPES * first.interval_s)
    for still in unmoved(Samples(seen[-1]), [p.pod_key for p in run.engines]):
        raise RefusedError(still, next_step=MOVE)
    return seen[-1]


def _baseline_until_now(run: Run, like: records.SamplesTaken) -> records.SamplesTaken:
    end_s = stored_until_s(run)
    return ask(run, "baseline", (end_s - (like.window[1] - like.window[0]), end_s))


def _is_calm(run: Run, samples: Samples) -> bool:
    if any(unmoved(samples, [p.pod_key for p in run.engines])):
        return False
    judged = judge_all(samples, run.context("baseline"))
    return all(j.outcome is Outcome.HELD for j in judged) and _paths_calm(run, samples)


def _paths_calm(run: Run, samples: Samples) -> bool:
    """Whether every path the fault will be on is as it should be: an earlier one may be in the window."""
    settings = run.must_settings()
    return all(run.must_effect().calm(samples, pod, settings) for pod in run.targeted())


def unmoved(samples: Samples, engines: Sequence[str]) -> Iterator[str]:
    """A sentence for every metric that did not change in the window although it must in a healthy system."""
    for must in MUST_MOVE:
        found = samples.all(must.metric)
        wanted = engines if must.per_engine else [""]
        for pod in wanted:
            mine = [s for s in found if not pod or s.labels.get("pod_key") == pod]
            if not any(len({v for _, v in samples.inside(s)}) > 1 for s in mine):
                of = f" of {pod}" if pod else ""
                yield f"{must.metric}{of} ({must.whose}) {'does not move' if mine else 'is not there'}"
