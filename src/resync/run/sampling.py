"""Taking the samples of a phase: which metrics, over which window, and into the evidence.

One table says what a phase is judged from. Counters need what they were before the window, so every query
reaches back five scrapes; a sample stands in Prometheus only when its scrape is over, so a window is read
once all of its scrapes are.
"""

from collections.abc import Callable, Sequence

from resync.kits.waits import WaitTimeoutError, wait_until
from resync.run import records
from resync.run.errors import UnmeasuredError
from resync.run.observations import Phase, Series
from resync.run.readings import AGE, PEER, RTT
from resync.run.runs import Run
from resync.run.samples import Samples, Window
from resync.run.settings import Target

LOOKBACK_SCRAPES = 5.0
SETTLE_SCRAPES = 2.0
SETTLE_EXTRA_S = 0.1
"""A scrape that hangs is stored an interval and a time-out (at most an interval) late.

Facts of Prometheus 2.42 to 3.5.
"""
LOOKS_PER_SCRAPE = 5.0

COUNTERS = (
    "resync_divergent_cuts",
    "resync_cuts",
    "resync_audited_blocks",
    "resync_blocks_removed",
    "resync_gateway_gaps",
    "resync_gateway_gaps_repaired",
    "resync_gateway_replay_ends",
    "resync_load_allowed_hits",
    "resync_load_routed_hits",
    "resync_load_sent",
    "resync_load_completed",
    "aibrix_kvcache_zmq_events_processed",
    "aibrix_kvcache_zmq_disconnections",
    "aibrix_kvcache_zmq_replay_requests",
    "aibrix_kvcache_zmq_replay_success",
    "aibrix_kvcache_zmq_replay_failures",
)
GAUGES = (
    *RTT,
    *AGE,
    PEER,
    "resync_divergence_blocks",
    "resync_last_cut_timestamp_seconds",
    "resync_cut_began_timestamp_seconds",
    "resync_gateways_selected",
    "resync_gateways_audited",
    "resync_shared_hashes",
    "resync_truth_blocks",
    "resync_index_blocks",
    "resync_published_sequence",
    "resync_incarnation",
    "resync_gateway_ledger_batches",
    "resync_applied_sequence",
    "resync_gateway_applied_sequence",
    "resync_gateway_source_exact",
    "resync_staleness_seconds",
    "resync_staleness_blocks",
    "resync_load_last_sent_timestamp_seconds",
    "resync_load_asked_rate",
    "up",
    "process_start_time_seconds",
    "scrape_duration_seconds",
)
HISTOGRAMS = ("resync_gateway_event_age_seconds", "aibrix_kvcache_zmq_event_processing_duration_seconds")

METRICS: tuple[str, ...] = (
    *(f"{name}{suffix}" for name in COUNTERS for suffix in ("_total", "_created")),
    *GAUGES,
    *(f"{name}{suffix}" for name in HISTOGRAMS for suffix in ("_bucket", "_created")),
)
"""What every phase is sampled for.

The phases differ in window and claims, and evidence should not lack a metric later.
"""


def settle_s(interval_s: float) -> float:
    """How long after a moment its samples are all there."""
    return SETTLE_SCRAPES * interval_s + SETTLE_EXTRA_S


def complete_until_s(ups: Sequence[Series], now_s: float, interval_s: float) -> float:
    """The moment up to which every sample is stored by now, given `up` of every target.

    A target is scraped again only when its last scrape is stored, all of it at once (Prometheus, scrape
    loop): what it was last scraped at is complete. For one that stays away, time has to tell.
    """
    settled_s = now_s - settle_s(interval_s)
    return max(settled_s, min((up.points[-1][0] for up in ups if up.points), default=settled_s))


def stored_until_s(run: Run) -> float:
    """The moment up to which every sample is in Prometheus. Raises UnmeasuredError when it does not answer.

    Only the lab's Prometheus is known to have scraped by itself: behind a remote write, series of one scrape
    may come apart.
    """
    world = run.must_world()
    interval_s = world.interval_s()
    window = (run.now_s() - settle_s(interval_s) - LOOKBACK_SCRAPES * interval_s, run.now_s())
    ups = world.series(("up",), window) if run.target is Target.LAB else []
    return complete_until_s(ups, run.now_s(), interval_s)


def take(run: Run, phase: Phase, window: Window) -> Samples:
    """The samples of `window`, on disk before anybody judges them.

    Waits until they are stored. Raises UnmeasuredError when Prometheus does not answer.
    """
    interval_s = run.must_world().interval_s()
    _wait(
        run,
        lambda: stored_until_s(run) >= window[1],
        "the window's samples to be stored",
        by_s=window[1] + settle_s(interval_s),
        every_s=interval_s / LOOKS_PER_SCRAPE,
    )
    return keep(run, ask(run, phase, window))


def ask(run: Run, phase: Phase, window: Window) -> records.SamplesTaken:
    """What is stored for `window` by now. Raises UnmeasuredError when Prometheus does not answer."""
    world = run.must_world()
    interval_s = world.interval_s()
    return records.SamplesTaken(
        at=run.now_s(),
        phase=phase,
        window=window,
        interval_s=interval_s,
        series=world.series(METRICS, (window[0] - LOOKBACK_SCRAPES * interval_s, window[1])),
        instrument=list(run.stalls.windows),
    )


def keep(run: Run, taken: records.SamplesTaken) -> Samples:
    """Make these the samples of their phase, on disk first."""
    run.note(taken)
    run.samples[taken.phase] = Samples(taken)
    return run.samples[taken.phase]


def look(run: Run, metrics: tuple[str, ...], window: Window) -> Samples:
    """Samples for a decision on the way.

    Not evidence, since the decision's window is sampled again when it is over.
    """
    world = run.must_world()
    interval_s = world.interval_s()
    series = world.series(metrics, window)
    return Samples(
        records.SamplesTaken(
            at=run.now_s(), phase="fault", window=window, interval_s=interval_s, series=series, instrument=[]
        )
    )


def wait_for_time(run: Run, until_s: float, what: str) -> None:
    """Wait until the wall clock shows `until_s`."""
    _wait(run, lambda: run.now_s() >= until_s, what, by_s=until_s, every_s=0.02)


def _wait(run: Run, reached: Callable[[], bool], what: str, *, by_s: float, every_s: float) -> None:
    limit_s = max(0.0, by_s - run.now_s()) + 1.0
    try:
        wait_until(reached, what=what, timeout_s=limit_s, every_s=every_s)
    except WaitTimeoutError as error:
        raise UnmeasuredError(
            f"the wall clock went backwards: {error}", next_step="run again once the clock is steady"
        ) from error
