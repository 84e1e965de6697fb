"""What a kill must show, what it may do to the pods it hits, and what is claimed of those that come back."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from resync.run.absences import avoided, returned
from resync.run.answers import BORN, UP, Restart, restart, settled_s
from resync.run.cases import Case
from resync.run.claims import judge_pods
from resync.run.convergences import converged, counted_from_s
from resync.run.divergences import divergence
from resync.run.effects import EFFECTS
from resync.run.errors import UnmeasuredError
from resync.run.judgements import Context, Outcome
from resync.run.observations import PodSeen, Series
from resync.run.profiles import PROFILES, Pods
from resync.run.records import FaultHealed, FaultInjected, PodsListed, SamplesTaken, TargetsFrozen
from resync.run.samples import Samples
from resync.run.settings import parse
from resync.run.stages import stages

POD, OTHER, GATEWAY = "default/engine-1", "default/engine-0", "default/gateway-0"
WINDOW = (100.0, 106.0)
STEP_S = 0.25
TIMES = [99.0 + STEP_S * i for i in range(29)]
OLD, NEW = 1000.0, 1100.0
SETTINGS = parse({"convergence_limit": "3s", "restart_limit": "2s"})
KILL = EFFECTS["PodChaos", "pod-kill"]
NOBODY = 0.0

Life = Sequence[float]
"""Scrape by scrape: since when the process runs that answers; NOBODY answers."""


def series(metric: str, values: Sequence[float | None], **labels: str) -> Series:
    points = [(t, v) for t, v in zip(TIMES, values, strict=True) if v is not None]
    return Series(metric=metric, labels=labels, points=points)


def lives(life: Life, pod: str = POD) -> list[Series]:
    name = pod.partition("/")[2]
    return [
        series(UP, [float(born != NOBODY) for born in life], pod=name),
        series(BORN, [born if born != NOBODY else None for born in life], pod=name),
    ]


def samples(*taken: Series) -> Samples:
    return Samples(
        SamplesTaken(
            at=WINDOW[1], phase="fault", window=WINDOW, interval_s=STEP_S, series=list(taken), instrument=[]
        )
    )


def replaced(old: int = 5, silent: int = 6, born: float = NEW) -> Life:
    """Killed after `old` scrapes, silent for so many, then answering as another."""
    return [OLD] * old + [NOBODY] * silent + [born] * (len(TIMES) - old - silent)


CALM = samples(*lives([OLD] * len(TIMES)))


def context(action: str = "pod-kill", touched: str = POD, ended_s: float = 100.3) -> Context:
    profile = PROFILES["PodChaos", action]
    engines = [OTHER, POD]
    return Context(SETTINGS, engines, [GATEWAY], "recovery", ended_s, profile, frozenset({touched}))


# --- the effect


def test_a_process_that_never_answers_again_was_killed_whether_or_not_another_does() -> None:
    # The window begins at 100.0: by then the old one has answered for the last time.
    for life in (replaced(old=4), replaced(old=4, silent=0), replaced(old=4, silent=25)):
        seen = samples(*lives(life))
        assert KILL.judged(CALM, seen, [POD], SETTINGS).proven


@pytest.mark.parametrize(
    ("life", "says"),
    [
        pytest.param([OLD] * 29, "is the process from before", id="nobody was killed"),
        pytest.param([*replaced(old=4)[:-1], OLD], "is the process from before", id="the old one is back"),
        pytest.param(
            replaced(old=4, born=OLD + 1.0), "is the process from before", id="the boot time moved a second"
        ),
    ],
)
def test_one_answer_of_the_old_process_and_nothing_was_killed(life: Life, says: str) -> None:
    effect = KILL.judged(CALM, samples(*lives(life)), [POD], SETTINGS)
    assert says in effect.all_doubts[0]


def test_without_a_start_of_the_process_a_new_one_could_not_be_told() -> None:
    mute = samples(series(UP, [1.0] * 29, pod="engine-1"))
    with pytest.raises(UnmeasuredError, match="does not say since when it runs"):
        KILL.signs(mute, mute, POD, SETTINGS)


def test_a_baseline_is_calm_when_one_process_answered_every_scrape() -> None:
    assert KILL.calm(CALM, POD, SETTINGS)
    assert not KILL.calm(samples(*lives(replaced())), POD, SETTINGS)
    assert not KILL.calm(samples(), POD, SETTINGS)


# --- when it was gone and back


def test_a_restart_lies_between_the_last_scrape_without_it_and_the_first_with_it() -> None:
    assert restart(samples(*lives(replaced())), POD) == Restart(TIMES[4], TIMES[10], TIMES[11])
    assert restart(samples(*lives(replaced(silent=0))), POD) == Restart(TIMES[4], TIMES[4], TIMES[5])
    assert restart(samples(*lives(replaced(silent=24))), POD) == Restart(TIMES[4], TIMES[28], None)
    assert restart(CALM, POD) is None


def test_it_is_back_for_good_with_its_second_answer() -> None:
    assert settled_s(samples(*lives(replaced())), [POD]) == TIMES[12]
    assert settled_s(samples(*lives(replaced(silent=23))), [POD]) is None
    assert settled_s(samples(*lives(replaced()), *lives([OLD] * 29, OTHER)), [POD, OTHER]) is None


@pytest.mark.parametrize(
    ("life", "outcome"),
    [
        (replaced(), Outcome.HELD),
        (replaced(silent=10), Outcome.BREACHED),
        (replaced(silent=24), Outcome.BREACHED),
        (replaced(old=25, silent=4), Outcome.UNMEASURED),
        ([OLD] * 29, Outcome.UNMEASURED),
    ],
)
def test_what_was_killed_has_to_be_back_within_the_restart_limit(life: Life, outcome: Outcome) -> None:
    (part,) = returned(samples(*lives(life)), context())
    assert part.outcome is outcome, part.detail


# --- requests


def ended(status: str, per_step: float, until: int = 29) -> Series:
    return series("resync_load_completed_total", [per_step * min(i, until) for i in range(29)], status=status)


@pytest.mark.parametrize(
    ("lost", "outcome"),
    [
        pytest.param((), Outcome.HELD, id="none"),
        pytest.param((ended("502", 1, until=8),), Outcome.HELD, id="under way when it went"),
        pytest.param((ended("unreachable", 1),), Outcome.HELD, id="past the gateway"),
        pytest.param((ended("502", 1),), Outcome.BREACHED, id="still given to it"),
        pytest.param((ended("timeout", 1),), Outcome.BREACHED, id="without an end"),
    ],
)
def test_who_is_gone_is_given_no_requests(lost: Sequence[Series], outcome: Outcome) -> None:
    (part,) = avoided(samples(ended("200", 8), *lost), context())
    assert part.outcome is outcome, part.detail


def test_without_requests_nothing_is_known_of_where_they_go() -> None:
    (part,) = avoided(samples(ended("200", 0)), context())
    assert part.outcome is Outcome.NOT_EXERCISED


# --- convergence


def synced(applied: Sequence[float | None], published: Sequence[float | None]) -> list[Series]:
    """What the observer says of both engines, and a cut at every scrape."""
    return [
        one
        for pod in (OTHER, POD)
        for one in (
            series("resync_published_sequence", published, pod_key=pod),
            series("resync_applied_sequence", applied, pod_key=pod, gateway=GATEWAY),
        )
    ]


def cuts(stop: int = 29, start: int = 29) -> Series:
    """A new cut at every scrape, but none from `stop` until `start`."""
    return series(
        "resync_last_cut_timestamp_seconds",
        [TIMES[stop - 1] if stop <= i < start else t for i, t in enumerate(TIMES)],
        gateway=GATEWAY,
    )


def test_what_is_said_of_the_killed_process_is_old_news_until_a_cut_after_its_successor_answered() -> None:
    seen = samples(*lives(replaced()), *synced([50.0] * 29, [50.0] * 29), cuts(stop=5, start=16))
    assert counted_from_s(seen, context()) == TIMES[16]


def test_the_index_converges_after_the_kill_not_after_the_object_is_gone() -> None:
    # Back at scrape 11, its index complete at 15; a moment of lateness much later is another matter.
    applied = [50.0] * 5 + [None] * 6 + [-1.0] * 4 + [9.0] * 13 + [8.0]
    published = [50.0] * 5 + [None] * 6 + [9.0] * 18
    seen = samples(*lives(replaced()), *synced(applied, published), cuts())
    ended_s = 100.3
    parts = list(converged(seen, context(ended_s=ended_s)))
    assert [part.outcome for part in parts] == [Outcome.HELD, Outcome.HELD]
    assert parts[1].value == pytest.approx(TIMES[15] - ended_s)
    found = {one.name: one for one in stages(seen, [POD], context(ended_s=ended_s), share_min=0.9)}
    assert found["back"].earliest_s == pytest.approx(TIMES[10] - ended_s)
    assert found["back"].latest_s == pytest.approx(TIMES[11] - ended_s)
    assert found["converged"].earliest_s == pytest.approx(TIMES[14] - ended_s)


def test_who_does_not_come_back_has_not_converged() -> None:
    seen = samples(*lives(replaced(silent=24)), *synced([50.0] * 29, [50.0] * 29), cuts())
    assert {part.outcome for part in converged(seen, context())} == {Outcome.UNMEASURED}


def test_a_counter_of_a_new_gateway_has_grown_even_to_the_value_of_the_old_one() -> None:
    asked, born = "aibrix_kvcache_zmq_replay_requests", [OLD] * 5 + [None] * 6 + [NEW] * 18
    taken = (
        series(f"{asked}_total", [1.0] * 5 + [None] * 6 + [1.0] * 18, pod_key=POD),
        series(f"{asked}_created", born, pod_key=POD),
    )
    seen = samples(*lives(replaced(), GATEWAY), *synced([9.0] * 29, [9.0] * 29), cuts(), *taken)
    found = stages(seen, [POD], context("pod-kill-gateway", GATEWAY), share_min=0.9)
    assert "replay-asked" in {stage.name for stage in found}


# --- what a gateway's absence may and may not hide


def audited(values: Sequence[float]) -> list[Series]:
    """How many gateways are audited, and everything else as it should be."""
    wrong = [
        series("resync_divergence_blocks", [0.0] * 29, gateway=GATEWAY, pod_key=pod, kind=kind)
        for pod in (OTHER, POD)
        for kind in ("missing", "phantom", "misattributed", "mis-hashed")
    ]
    return [
        series("resync_gateways_selected", [1.0] * 29),
        series("resync_gateways_audited", values),
        cuts(),
        *wrong,
    ]


AUDITED_AT_BOTH_ENDS = [1.0] * 5 + [0.0] * 20 + [1.0] * 4


@pytest.mark.parametrize(
    ("values", "fault", "touched", "unmeasured"),
    [
        pytest.param(
            AUDITED_AT_BOTH_ENDS, ("PodChaos", "pod-kill-gateway"), GATEWAY, False, id="gone, and back"
        ),
        pytest.param([0.0] * 29, ("PodChaos", "pod-kill-gateway"), GATEWAY, True, id="never audited"),
        pytest.param(AUDITED_AT_BOTH_ENDS, ("PodChaos", "pod-kill"), POD, True, id="an engine was killed"),
        pytest.param(
            AUDITED_AT_BOTH_ENDS, ("NetworkChaos", "partition"), GATEWAY, True, id="nobody was killed"
        ),
    ],
)
def test_the_absence_of_a_killed_gateway_is_no_partial_audit(
    values: Sequence[float], fault: tuple[str, str], touched: str, *, unmeasured: bool
) -> None:
    of_fault = replace(context(touched=touched), profile=PROFILES[fault])
    said = [part.detail for part in divergence(samples(*audited(values)), of_fault)]
    assert any("of 1 gateways audited" in one for one in said) is unmeasured


# --- the pods


def seen_pod(uid: str = "a", restarts: int = 0, pod: str = POD, *, ready: bool = True) -> PodSeen:
    return PodSeen(pod_key=pod, phase="Running", ready=ready, restarts=restarts, uid=uid)


@pytest.mark.parametrize(
    ("now", "allowed", "touched", "held"),
    [
        (seen_pod("b"), Pods.REPLACED, POD, True),
        (seen_pod("b"), Pods.RESTARTED, POD, False),
        (seen_pod("b"), Pods.REPLACED, OTHER, False),
        (seen_pod(restarts=1), Pods.RESTARTED, POD, True),
        (seen_pod(restarts=1), Pods.REPLACED, POD, False),
        (seen_pod("b", ready=False), Pods.REPLACED, POD, False),
    ],
)
def test_a_pod_may_become_what_the_fault_makes_of_it_and_nothing_else(
    now: PodSeen, allowed: Pods, touched: str, *, held: bool
) -> None:
    judged = judge_pods([now], [seen_pod()], "after", allowed=allowed, touched=frozenset({touched}))
    assert (judged.outcome is Outcome.HELD) is held


def test_a_gateway_that_restarts_where_nobody_killed_it_is_a_breach() -> None:
    before, now = seen_pod(pod=GATEWAY), seen_pod(restarts=1, pod=GATEWAY)
    judged = judge_pods([now], [before], "after", what="gateway")
    assert str(judged.finding) == "1 gateway restarted on default/gateway-0"


@pytest.mark.parametrize(
    ("action", "after", "spared"),
    [
        ("pod-kill", seen_pod(), (POD,)),
        ("pod-kill", seen_pod("b"), ()),
        ("container-kill", seen_pod(), (POD,)),
        ("container-kill", seen_pod(restarts=1), ()),
        ("pod-failure", seen_pod(), ()),
    ],
)
def test_a_pod_that_the_api_says_is_the_same_was_spared(
    action: str, after: PodSeen, spared: tuple[str, ...]
) -> None:
    frozen = TargetsFrozen(
        at=90.0,
        sources=[POD],
        peers=[],
        gateways=[GATEWAY],
        engines=[OTHER, POD],
        fault_kind="PodChaos",
        action=action,
    )
    until_healed = Case(
        [
            frozen,
            PodsListed(at=90.0, phase="baseline", pods=[seen_pod()]),
            FaultInjected(at=100.3, name="f", created_s=100.0, expires_s=110.0, pods=[POD]),
            FaultHealed(at=110.0, name="f", by="method", requested_s=110.0, gone_s=110.0, path_back_s=110.0),
        ]
    )
    assert until_healed.spared() == (), "nobody has looked since"
    case = Case([*until_healed.records, PodsListed(at=112.0, phase="after", pods=[after])])
    assert case.spared() == spared
    assert case.ended_s == (110.0 if action == "pod-failure" else 100.3)
