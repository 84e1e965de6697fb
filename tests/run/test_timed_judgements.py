"""Late, how late, and back again: the claims about time, judged from samples written by hand.

Nothing below knows a metric's formula: each case states the samples and what they can and cannot prove.
"""

from collections.abc import Mapping, Sequence

import pytest

from resync.run.convergences import converged, convergence
from resync.run.judgements import Context, Outcome, Part
from resync.run.observations import Series
from resync.run.records import SamplesTaken
from resync.run.routings import routed
from resync.run.samples import Samples
from resync.run.settings import parse
from resync.run.stages import Stage, stages
from resync.run.timeliness import event_age, staleness

POD = "default/engine-0"
GATEWAY = "default/gateway-0"
STEP_S = 0.25
WINDOW = (100.0, 110.0)
Instrument = Sequence[tuple[float, float]]


def context(healed_s: float | None = None, stated: Mapping[str, str] | None = None) -> Context:
    settings = parse(stated or {})
    return Context(settings, [POD], [GATEWAY], "fault" if healed_s is None else "recovery", healed_s)


def series(metric: str, values: Sequence[float], start_s: float = WINDOW[0], **labels: str) -> Series:
    points = [(start_s + STEP_S * i, float(v)) for i, v in enumerate(values)]
    return Series(metric=metric, labels={"pod_key": POD, **labels}, points=points)


def samples(*taken: Series, instrument: Instrument = ()) -> Samples:
    return Samples(
        SamplesTaken(
            at=WINDOW[1],
            phase="fault",
            window=WINDOW,
            interval_s=STEP_S,
            series=list(taken),
            instrument=list(instrument),
        )
    )


def worst(parts: Sequence[Part]) -> Part:
    return max(parts, key=lambda p: p.outcome.rank)


# --- convergence: published and applied, scrape by scrape, from the instant of healing


def sequences(published: Sequence[float], applied: Sequence[float], *more: Series) -> Samples:
    return samples(
        series("resync_published_sequence", published), series("resync_applied_sequence", applied), *more
    )


def test_a_busy_engine_converges_although_it_is_never_level_for_long() -> None:
    """One batch behind at every second scrape is the traffic, not the fault."""
    seen = convergence(sequences([5, 6, 7, 8, 9], [2, 5, 7, 7, 9]), POD, WINDOW[0])
    assert seen is not None
    assert (seen.earliest_s, seen.latest_s) == (0.25, 0.5)


def test_wrong_blocks_after_the_sequences_agree_move_the_interval() -> None:
    wrong = series("resync_divergence_blocks", [0, 0, 3, 0, 0], kind="missing")
    seen = convergence(sequences([5] * 5, [5] * 5, wrong), POD, WINDOW[0])
    assert seen is not None
    assert (seen.earliest_s, seen.latest_s) == (0.5, 0.75)


def test_two_gateways_converge_with_the_slower_one() -> None:
    fast = series("resync_applied_sequence", [5, 5, 5, 5], gateway="default/gateway-0")
    slow = series("resync_applied_sequence", [1, 2, 5, 5], gateway="default/gateway-1")
    seen = convergence(samples(series("resync_published_sequence", [5] * 4), fast, slow), POD, WINDOW[0])
    assert seen is not None
    assert seen.latest_s == 0.5


def test_what_never_converges_is_said_with_the_batches_it_is_behind() -> None:
    (part,) = converged(sequences([10, 20, 30], [4, 4, 4]), context(healed_s=WINDOW[0]))
    assert part.outcome is Outcome.BREACHED
    assert part.detail.startswith(f"26 batches behind after the fault on {POD}: not converged within 10 s")


def test_what_converges_too_late_is_said_with_the_seconds_it_took() -> None:
    slow = [0] * 48 + [9] * 4
    (part,) = converged(sequences([9] * 52, slow), context(healed_s=WINDOW[0]))
    assert part.outcome is Outcome.BREACHED
    assert part.detail.startswith(f"12 seconds to converge after the fault on {POD}")


def test_without_samples_or_without_healing_convergence_is_not_known() -> None:
    (unsampled,) = converged(samples(), context(healed_s=WINDOW[0]))
    (unhealed,) = converged(sequences([1], [1]), context())
    assert {unsampled.outcome, unhealed.outcome} == {Outcome.UNMEASURED}


# --- staleness: in seconds and in blocks, and a gateway that answers but does not follow


def stale(
    late_s: float = 0.06,
    blocks: float = 20,
    *,
    applied: Sequence[float] | None = None,
    instrument: Instrument = (),
) -> Part:
    published = list(range(41))
    taken = [
        series("resync_staleness_seconds", [*[0.01] * 4, late_s, 0.01]),
        series("resync_staleness_blocks", [*[1] * 4, blocks, 1]),
        series("resync_published_sequence", published),
        series("resync_gateway_applied_sequence", published if applied is None else applied),
    ]
    return worst(list(staleness(samples(*taken, instrument=instrument), context())))


def test_a_gateway_a_little_behind_holds() -> None:
    assert stale().outcome is Outcome.HELD


@pytest.mark.parametrize(("late_s", "blocks"), [(2.5, 20), (0.06, 201)])
def test_too_stale_in_seconds_or_in_blocks_is_said_in_both(late_s: float, blocks: float) -> None:
    part = stale(late_s, blocks)
    assert part.outcome is Outcome.BREACHED
    assert part.detail.startswith(f"{blocks:g} blocks stale on {POD}, the oldest for {late_s:.3f} s")


def test_what_was_timed_while_the_runner_stood_still_does_not_convict() -> None:
    assert stale(2.5, instrument=[(101.0, 101.1)]).outcome is Outcome.HELD


def test_a_sequence_that_stands_still_while_metrics_answer_is_a_breach_with_its_count() -> None:
    part = stale(applied=[*range(11), *[10] * 30])
    assert part.outcome is Outcome.BREACHED
    assert part.finding is not None
    assert part.finding.count == 21  # all that was due `staleness_limit` before the end, less the 10 applied
    assert "the sequence stands at 10" in part.detail


def test_a_sequence_within_the_limit_of_staleness_follows() -> None:
    assert stale(applied=[0] * 6 + list(range(35))).outcome is Outcome.HELD


# --- the age of events: counted by buckets, so a limit can lie inside one


def aged(counts: dict[str, float]) -> Part:
    buckets = [
        series("resync_gateway_event_age_seconds_bucket", [0, n], start_s=105.0, le=le)
        for le, n in counts.items()
    ]
    return worst(list(event_age(samples(*buckets), context())))


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        ({"0.1": 99, "0.26": 100, "+Inf": 100}, Outcome.HELD),
        ({"0.1": 0, "0.26": 98, "0.5": 100, "+Inf": 100}, Outcome.BREACHED),
        ({"0.1": 90, "0.2": 98, "0.5": 100, "+Inf": 100}, Outcome.UNMEASURED),
        ({"0.1": 0, "0.26": 0, "+Inf": 0}, Outcome.NOT_EXERCISED),
        ({"0.26": 50, "+Inf": 100}, Outcome.BREACHED),
    ],
    ids=["held", "late", "the limit inside a bucket", "no event", "beyond the last bucket"],
)
def test_the_age_of_events_is_an_interval_where_its_limit_lies_inside_a_bucket(
    counts: dict[str, float], outcome: Outcome
) -> None:
    assert aged(counts).outcome is outcome


def test_late_events_are_counted() -> None:
    part = aged({"0.1": 0, "0.26": 90, "+Inf": 100})
    assert part.finding is not None
    assert str(part.finding) == f"10 events later than the limit on {POD}"


# --- routed hits, and a load that has to be alive to prove anything


def hits(allowed: float, used: float, quiet_from: int = 40, **stated: str) -> Part:
    sent = [WINDOW[0] + STEP_S * min(i, quiet_from) for i in range(41)]
    taken = [
        series("resync_load_allowed_hits_total", [0, allowed]),
        series("resync_load_routed_hits_total", [0, used]),
        series("resync_load_last_sent_timestamp_seconds", sent),
    ]
    return worst(list(routed(samples(*taken), context(stated=stated))))


@pytest.mark.parametrize(
    ("allowed", "used", "outcome"),
    [
        (200, 199, Outcome.HELD),
        (200, 180, Outcome.HELD),
        (200, 165, Outcome.BREACHED),
        (39, 31, Outcome.BREACHED),
        (10, 10, Outcome.NOT_EXERCISED),
        (0, 0, Outcome.NOT_EXERCISED),
    ],
)
def test_the_share_of_routed_hits_needs_enough_of_them(allowed: float, used: float, outcome: Outcome) -> None:
    assert hits(allowed, used).outcome is outcome


@pytest.mark.parametrize(("allowed", "used"), [(39, 35), (200, 179), (20_000, 17_990)])
def test_a_share_below_the_limit_that_chance_can_make_proves_nothing(allowed: float, used: float) -> None:
    part = hits(allowed, used)
    assert part.outcome is Outcome.NOT_EXERCISED
    seen = f"{used:g} of {allowed:g} hits that truth allows were routed"
    assert part.detail == f"{seen}, too few to tell whether a share of 0.9 is"


def test_without_a_hit_there_is_no_share_whatever_the_floor() -> None:
    part = hits(0, 0, routed_floor="0")
    assert (part.outcome, part.detail) == (Outcome.NOT_EXERCISED, "0 hits allowed by truth, 1 needed")


def test_a_load_that_stops_mid_window_proves_nothing_whatever_it_counted() -> None:
    part = hits(200, 199, quiet_from=8)
    assert part.outcome is Outcome.UNMEASURED
    assert part.detail.startswith("the load stopped 2.0 s into the window")


def test_a_last_look_that_is_late_does_not_make_the_load_silent() -> None:
    assert hits(200, 199, quiet_from=35).outcome is Outcome.HELD


# --- the stages of a recovery: between which two samples each was reached

ENDED_S = WINDOW[0] + 2.0


def recovery(*taken: Series) -> dict[str, Stage]:
    level = [7.0] * 41
    always = (series("resync_published_sequence", level), series("resync_applied_sequence", level))
    found = stages(samples(*always, *taken), [POD], context(healed_s=ENDED_S), share_min=0.9)
    return {stage.name: stage for stage in found}


def counter(metric: str, *steps_at: int) -> Series:
    """A counter that grows by one at each of these samples."""
    return series(metric, [sum(i >= at for at in steps_at) for i in range(41)])


def between(stage: Stage) -> tuple[float, float | None]:
    return stage.earliest_s, stage.latest_s


def test_each_stage_lies_between_the_last_sample_without_it_and_the_first_with_it() -> None:
    found = recovery(
        counter("aibrix_kvcache_zmq_disconnections_total", 4),
        counter("aibrix_kvcache_zmq_replay_requests_total", 10, 12),
        counter("aibrix_kvcache_zmq_replay_success_total", 14),
    )
    assert between(found["noticed"]) == (-1.25, -1.0)  # while the fault still stood
    assert between(found["replay-asked"]) == (0.25, 0.5)
    assert between(found["replay-complete"]) == (1.25, 1.5)
    assert between(found["converged"]) == (0.0, 0.0)


def test_a_replay_that_was_asked_for_and_never_came_stays_as_a_censored_time() -> None:
    found = recovery(counter("aibrix_kvcache_zmq_replay_requests_total", 10))
    assert between(found["replay-complete"]) == (8.0, None)


def test_a_stage_that_nobody_entered_is_absent() -> None:
    assert set(recovery()) == {"converged"}


def test_a_counter_that_was_born_again_has_grown_by_what_it_shows() -> None:
    found = recovery(series("aibrix_kvcache_zmq_replay_requests_total", [5] * 10 + [1] * 31))
    assert between(found["replay-asked"]) == (0.25, 0.5)


def test_routing_is_used_again_from_when_on_the_share_holds() -> None:
    allowed = [2 * i for i in range(41)]
    missed_until = 16
    hits = [2 * max(0, i - missed_until) for i in range(41)]
    found = recovery(
        series("resync_load_allowed_hits_total", allowed), series("resync_load_routed_hits_total", hits)
    )
    earliest, latest = between(found["used"])
    assert latest is not None
    assert earliest < latest <= (missed_until - 8) * STEP_S
    assert latest - earliest == STEP_S


def test_routing_that_never_comes_back_is_censored() -> None:
    found = recovery(
        series("resync_load_allowed_hits_total", range(41)), series("resync_load_routed_hits_total", [0] * 41)
    )
    assert between(found["used"]) == (8.0, None)


# --- a scrape takes time, and a cut does: what they show was so at some moment of it

PAGE = {"job": "gateway", "instance": "127.0.0.1:8080"}
TOOK_S, MOVED_S = 0.05, 0.002


def durations(job: str = "gateway") -> Series:
    found = series("scrape_duration_seconds", [TOOK_S] * 41)
    return Series(metric=found.metric, labels={**PAGE, "job": job}, points=found.points)


def test_an_interval_reaches_to_the_end_of_the_scrape_that_showed_it() -> None:
    counted = counter("aibrix_kvcache_zmq_replay_requests_total", 10)
    asked = Series(metric=counted.metric, labels={"pod_key": POD, **PAGE}, points=counted.points)
    found = recovery(asked, durations())
    assert between(found["replay-asked"]) == pytest.approx((0.25 - MOVED_S, 0.5 + TOOK_S + MOVED_S))
    of_another_page = recovery(asked, durations(job="observer"))
    assert between(of_another_page["replay-asked"]) == (0.25, 0.5)


def test_a_scrape_that_began_before_the_fault_can_show_what_the_fault_did() -> None:
    """Its stamp is a moment before the injection, its page was written a moment after."""
    before_s = WINDOW[0] - 0.02
    grown = Series(
        metric="aibrix_kvcache_zmq_disconnections_total",
        labels={"pod_key": POD, **PAGE},
        points=[(before_s - STEP_S, 0.0), (before_s, 1.0), (before_s + STEP_S, 1.0)],
    )
    took = Series(
        metric="scrape_duration_seconds", labels=PAGE, points=[(t, TOOK_S) for t, _ in grown.points]
    )
    earliest, latest = between(recovery(grown, took)["noticed"])
    assert latest is not None
    assert earliest < WINDOW[0] - ENDED_S < latest
    assert "noticed" not in recovery(grown), "without knowing how long it took, the stamp is all there is"


def test_what_a_cut_showed_wrong_was_so_from_when_it_was_begun() -> None:
    applied = [2, 2, 5, 5, 5]
    began = [(t, t - 0.2) for t, _ in series("", applied).points]
    cuts = Series(metric="resync_cut_began_timestamp_seconds", labels={"gateway": GATEWAY}, points=began)
    seen = convergence(sequences([5] * 5, applied, cuts), POD, WINDOW[0])
    assert seen is not None
    assert seen.earliest_s == pytest.approx(0.25 - 0.2)
    assert seen.latest_s == 0.5
    never_bad = convergence(sequences([5] * 5, [5] * 5, cuts), POD, WINDOW[0])
    assert never_bad is not None
    assert never_bad.earliest_s == 0.0
