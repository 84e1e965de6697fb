"""Taking the samples of a phase: which metrics, over which window, and into the evidence.

One table says what a phase is judged from. Counters need what they were before the window, so every query
reaches back five scrapes; a sample stands in Prometheus only a scrape and its time-out later, so a window is
read after that.
"""

from resync.kits.waits import WaitTimeoutError, wait_until
from resync.run import records
from resync.run.errors import UnmeasuredError
from resync.run.observations import Phase
from resync.run.readings import AGE, PEER, RTT
from resync.run.runs import Run
from resync.run.samples import Samples, Window

LOOKBACK_SCRAPES = 5.0
SETTLE_SCRAPES = 2.0
SETTLE_EXTRA_S = 0.1
"""A scrape that hangs is stored an interval and a time-out (at most an interval) late.

Facts of Prometheus 2.42 to 3.5.
"""

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


def take(run: Run, phase: Phase, window: Window) -> Samples:
    """The samples of `window`, on disk before anybody judges them.

    Waits until the window has settled. Raises UnmeasuredError when Prometheus does not answer.
    """
    wait_for_time(
        run, window[1] + settle_s(run.must_world().interval_s()), "the window's samples to be stored"
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
    limit_s = max(0.0, until_s - run.now_s()) + 1.0
    try:
        wait_until(lambda: run.now_s() >= until_s, what=what, timeout_s=limit_s, every_s=0.02)
    except WaitTimeoutError as error:
        raise UnmeasuredError(
            f"the wall clock went backwards: {error}", next_step="run again once the clock is steady"
        ) from error
