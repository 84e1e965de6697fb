"""The verdict is a pure function of the records: what makes a run pass, fail or void, and which wins."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from resync.run import settings
from resync.run.observations import Phase, PodSeen, ProbeSeen
from resync.run.records import (
    HEALTHY_KINDS,
    ActivityFailed,
    CheckPassed,
    ClaimJudged,
    Crashed,
    EffectProven,
    FaultHealed,
    FaultInjected,
    FaultPlanned,
    HookFailed,
    HypothesisChecked,
    LeaseHeld,
    LeaseReleased,
    PodsListed,
    Record,
    ResidueChecked,
    RunEnded,
    RunStarted,
    SamplesTaken,
    SignalReceived,
    TargetJoined,
    TargetsFrozen,
    VerdictGiven,
    VoidFound,
    WindowObserved,
    kind_of,
)
from resync.run.sampling import METRICS
from resync.run.verdict import Verdict, rule

BORN, INJECTED, HEALED = 1_000_000.0, 1_000_100.05, 1_000_109.0
PROVEN = (INJECTED + 0.4, HEALED - 0.2)
ENGINES = [f"default/engine-{i}" for i in range(3)]
Knobs = Mapping[str, object]
Recorder = Callable[..., list[Record]]


def windows() -> dict[Phase, tuple[float, float]]:
    return {
        "baseline": (INJECTED - 6, INJECTED - 2),
        "fault": PROVEN,
        "recovery": (INJECTED - 0.05, HEALED + 3),
        "after": (HEALED + 0.5, HEALED + 3),
    }


@pytest.fixture
def recorded(made: ModuleType) -> Recorder:
    """The records of a run over the made world, with what `knobs` make wrong about it."""

    def build(knobs: Knobs | None = None, **given_settings: str) -> list[Record]:
        numbers = made.Numbers(BORN, dict(knobs or {}))
        numbers.injected_s, numbers.healed_s = INJECTED, HEALED
        taken = {
            phase: SamplesTaken(
                at=window[1],
                phase=phase,
                window=window,
                interval_s=made.INTERVAL_S,
                series=numbers.series(METRICS, (window[0] - 1, window[1])),
                instrument=[],
            )
            for phase, window in windows().items()
        }
        return records(taken, made.pods(*ENGINES), settings.parse(given_settings))

    return build


def records(
    taken: Mapping[Phase, SamplesTaken], pods: Sequence[PodSeen], parsed: settings.Settings
) -> list[Record]:
    def steady(phase: Phase, at: float) -> Record:
        probes = [ProbeSeen(name="right", answered=True, within=True)]
        return HypothesisChecked(at=at, phase=phase, met=True, probes=probes)

    name = "network-delay-1"
    return [
        RunStarted(at=INJECTED - 9, run="1", experiment="x", source="x.json", pid=1, versions={}),
        TargetJoined(
            at=INJECTED - 8, target="lab", lab_started_here=False, settings=parsed, api_server="made"
        ),
        LeaseHeld(at=INJECTED - 7, namespace="default", holder="1"),
        TargetsFrozen(
            at=INJECTED - 7,
            sources=["default/gateway-0"],
            peers=ENGINES,
            gateways=["default/gateway-0"],
            engines=ENGINES,
            fault_kind="NetworkChaos",
            action="delay",
        ),
        CheckPassed(at=INJECTED - 7, check="all", detail="fine"),
        PodsListed(at=INJECTED - 7, phase="baseline", pods=list(pods)),
        taken["baseline"],
        ClaimJudged(
            at=INJECTED - 1, phase="baseline", claim="c", outcome="held", value=0, limit=0, unit="", detail=""
        ),
        steady("before", INJECTED - 1),
        FaultPlanned(
            at=INJECTED - 0.1,
            name=name,
            namespace="default",
            plural="networkchaos",
            fault_kind="NetworkChaos",
            duration_s=10,
        ),
        FaultInjected(
            at=INJECTED, name=name, created_s=INJECTED - 0.05, expires_s=INJECTED + 10, pods=ENGINES
        ),
        EffectProven(at=PROVEN[0], stage="start", pods=ENGINES),
        EffectProven(at=PROVEN[1], stage="end", pods=ENGINES),
        WindowObserved(at=PROVEN[1], window=PROVEN, looks=30, present=True),
        FaultHealed(
            at=HEALED,
            name=name,
            by="method",
            requested_s=HEALED - 0.1,
            gone_s=HEALED,
            path_back_s=HEALED + 0.3,
        ),
        taken["fault"],
        taken["recovery"],
        taken["after"],
        steady("after", HEALED + 3),
        ResidueChecked(at=HEALED + 4, left=[]),
        LeaseReleased(at=HEALED + 4, namespace="default"),
        VerdictGiven(at=HEALED + 5, verdict="pass", reason=""),
        RunEnded(at=HEALED + 5, exit_code=0),
    ]


def without(found: list[Record], kind: str) -> list[Record]:
    return [r for r in found if kind_of(r) != kind]


WRONG = {"kind": "phantom", "pod": "default/engine-1", "count": 3}


def test_a_healthy_run_passes(recorded: Recorder) -> None:
    ruling = rule(recorded())
    assert ruling.verdict is Verdict.PASS, ruling.voids
    assert ruling.verdict.exit_code == 0
    assert ruling.effect is not None
    assert {p.measured["rtt_added_ms"] for p in ruling.effect.pods} == {100.0}
    assert {p.measured["event_age_added_ms"] for p in ruling.effect.pods} == {50.0}
    assert ruling.effect.peer_added_ms == 0.0


def test_the_healthy_records_hold_every_kind_of_a_healthy_run(recorded: Recorder) -> None:
    """So that the tests below, which take one away, cover a new kind by themselves."""
    assert {kind_of(r) for r in recorded()} == set(HEALTHY_KINDS)


@pytest.mark.parametrize("kind", sorted(set(HEALTHY_KINDS) - {"verdict-given"}))
def test_a_run_that_lacks_a_kind_of_record_proves_nothing(recorded: Recorder, kind: str) -> None:
    assert rule(without(recorded(), kind)).verdict is Verdict.VOID


def test_a_run_cut_after_any_record_proves_nothing(recorded: Recorder) -> None:
    whole = recorded()
    verdicts = {rule(whole[:length]).verdict for length in range(len(whole))}
    assert verdicts == {Verdict.VOID}


BREACHES: dict[str, tuple[Knobs, str]] = {
    "phantom blocks": ({"divergence": WRONG}, "3 phantom blocks on default/engine-1"),
    "missing blocks": (
        {"divergence": {"kind": "missing", "pod": "default/engine-2", "count": 7}},
        "7 missing blocks on default/engine-2",
    ),
    "unrepaired gap": ({"gap": "default/engine-0"}, "1 unrepaired gaps on default/engine-0"),
    "frozen sequence": ({"frozen": "engine-2"}, "blocks stale on default/engine-2"),
    "hits not routed": (
        {"routed": 0.5},
        r"\d+ allowed hits not routed on default/gateway-0: \d+ of \d+ hits that truth allows",
    ),
    "late events": (
        {"late_s": 0.3},
        r"\d+ events later than the limit on default/engine-\d: p99 of .*event-age",
    ),
}
NAMED = r"[\d.]+ [a-z/ -]+ on default/[a-z]+-\d"
"""How a breach begins: count, kind, pod."""


@pytest.mark.parametrize(("knobs", "says"), BREACHES.values(), ids=BREACHES)
def test_what_is_wrong_after_the_injection_fails_and_is_named(
    recorded: Recorder, knobs: Knobs, says: str
) -> None:
    ruling = rule(recorded(knobs))
    assert ruling.verdict is Verdict.FAIL, ruling.voids
    assert any(re.search(says, breach) for breach in ruling.breaches), ruling.breaches
    assert all(re.match(NAMED, breach) for breach in ruling.breaches), ruling.breaches


VOIDS: dict[str, tuple[Knobs, str]] = {
    "the link ignores the delay": ({"no_effect": True}, "not effective"),
    "the fault is gone mid-window": ({"effect_lost_after_s": 4}, "not effective"),
    "prometheus dies": ({"scrapes_stop_after_s": 3}, "effective|samples|sampled"),
    "the load dies at second 2": ({"load_dies_after_s": 2}, "the load stopped"),
    "engine and index are empty": ({"empty": True}, "audited blocks"),
    "one of two gateways audited": ({"audited": 0}, "gateways audited"),
    "no hash is shared": ({"shared": 3}, "hashes held by two engines"),
    "as few hits missed as chance can miss": (
        {"routed": 0.88},
        r"routed-hits was not exercised \(fault\): \d+ of \d+ hits .* too few to tell whether",
    ),
    "no round trip is exported": ({"lacks": "resync_gateway_engine_rtt_seconds"}, "round trip"),
    "no divergence is exported": ({"lacks": "resync_divergence_blocks"}, "divergence"),
    "no cut is exported": ({"lacks": "resync_last_cut_timestamp_seconds"}, "cut"),
    "no staleness is exported": ({"lacks": "resync_staleness_seconds"}, "staleness"),
    "no gap counter is exported": ({"lacks": "resync_gateway_gaps_total"}, "gap"),
    "no bucket is exported": ({"lacks": "resync_gateway_event_age_seconds_bucket"}, "event age"),
    "no sequence is exported": ({"lacks": "resync_published_sequence"}, "sequence"),
    "no load is exported": ({"lacks": "resync_load_allowed_hits_total"}, "load"),
    "wrong from the start": ({"divergence": {**WRONG, "always": True}}, "not steady"),
}


@pytest.mark.parametrize(("knobs", "says"), list(VOIDS.values())[:-1], ids=list(VOIDS)[:-1])
def test_what_is_not_proven_is_void_and_says_what_to_do(recorded: Recorder, knobs: Knobs, says: str) -> None:
    ruling = rule(recorded(knobs))
    assert ruling.verdict is Verdict.VOID, ruling.breaches
    assert any(re.search(says, v.reason) for v in ruling.voids), ruling.voids
    assert all(v.next_step for v in ruling.voids)


def test_a_breach_is_not_hidden_by_a_void(recorded: Recorder) -> None:
    found = [
        *recorded({"divergence": WRONG, "effect_lost_after_s": 4}),
        SignalReceived(at=HEALED, signal="SIGTERM", count=1),
    ]
    ruling = rule(found)
    assert ruling.verdict is Verdict.FAIL
    assert ruling.voids


def test_a_breach_before_the_injection_is_not_a_finding(recorded: Recorder) -> None:
    found = without(recorded({"divergence": {**WRONG, "always": True}}), "fault-injected")
    ruling = rule(found)
    assert ruling.verdict is Verdict.VOID
    assert any("not steady" in v.reason for v in ruling.voids)


TROUBLES: dict[str, Record] = {
    "signal": SignalReceived(at=HEALED, signal="SIGINT", count=1),
    "activity": ActivityFailed(at=HEALED, activity="a", section="method", error="e"),
    "hook": HookFailed(at=HEALED, hook="h", error="e"),
    "crash": Crashed(at=HEALED, error="e", trace=""),
    "void": VoidFound(at=HEALED, source="s", reason="r", next_step="n"),
    "residue": ResidueChecked(at=HEALED + 9, left=["default/x"]),
    "gone": WindowObserved(at=PROVEN[1], window=PROVEN, looks=3, present=False),
    "beyond": WindowObserved(at=PROVEN[1], window=(PROVEN[0], HEALED + 60), looks=3, present=True),
    "unmet before": HypothesisChecked(
        at=1, phase="before", met=False, probes=[ProbeSeen(name="p", answered=True, within=False)]
    ),
    "unanswered after": HypothesisChecked(
        at=1, phase="after", met=False, probes=[ProbeSeen(name="p", answered=False, within=False)]
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_any_trouble_keeps_a_run_from_passing(recorded: Recorder, trouble: Record) -> None:
    found = recorded()
    assert rule([*found[:-2], trouble, *found[-2:]]).verdict is Verdict.VOID


def test_a_tolerance_not_met_after_the_fault_fails(recorded: Recorder) -> None:
    probes = [ProbeSeen(name="somebody else's probe", answered=True, within=False)]
    unmet = HypothesisChecked(at=HEALED + 3, phase="after", met=False, probes=probes)
    found = recorded()
    ruling = rule([*found[:-2], unmet, *found[-2:]])
    assert ruling.verdict is Verdict.FAIL
    assert "somebody else's probe" in ruling.reason


def test_an_engine_that_restarted_fails(recorded: Recorder, made: ModuleType) -> None:
    pods = [msgspec.structs.replace(p, restarts=1) for p in made.pods(*ENGINES)]
    found = recorded()
    listed = PodsListed(at=HEALED + 3, phase="after", pods=pods)
    ruling = rule([*found[:-2], listed, *found[-2:]])
    assert ruling.verdict is Verdict.FAIL
    assert "engine restarted on default/engine-0" in ruling.reason


def test_late_events_while_the_runner_stood_still_do_not_convict(recorded: Recorder) -> None:
    found = recorded({"late_s": 0.3})
    assert rule(found).verdict is Verdict.FAIL
    asleep = [
        msgspec.structs.replace(r, instrument=[PROVEN]) if isinstance(r, SamplesTaken) else r for r in found
    ]
    assert rule(asleep).verdict is not Verdict.FAIL


def test_a_stored_outcome_is_not_trusted(recorded: Recorder) -> None:
    """The records say "held" and "pass"; the samples say otherwise."""
    assert rule(recorded({"divergence": WRONG})).verdict is Verdict.FAIL


@given(data=st.data())
@hypothesis_settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_run_passes_with_a_required_record_missing(recorded: Recorder, data: st.DataObject) -> None:
    """Any number of records taken away, one of them required: never a pass."""
    found = recorded()
    gone = data.draw(st.sets(st.integers(0, len(found) - 1), min_size=1, max_size=5))
    left = [r for i, r in enumerate(found) if i not in gone]
    lost = {kind_of(r) for r in found} - {kind_of(r) for r in left} - {"verdict-given"}
    phases = {r.phase for r in left if isinstance(r, SamplesTaken)}
    if lost or len(phases) < len(windows()):
        assert rule(left).verdict is not Verdict.PASS


def test_the_verdict_line_is_json_of_finite_numbers(recorded: Recorder) -> None:
    line = rule(recorded()).line("somewhere")
    assert msgspec.json.decode(msgspec.json.encode(line)) == line
    assert line["resync"]["verdict"] == "pass"


def test_a_ruling_cannot_be_changed(recorded: Recorder) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule(recorded()).verdict = Verdict.PASS  # type: ignore[misc]
