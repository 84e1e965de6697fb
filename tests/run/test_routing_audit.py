"""The black-box audit: what became of each prompt, what so few of them show, and how many are asked."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from resync.run import auditing, settings
from resync.run.audits import Fate, fate, judge_audit
from resync.run.errors import UnmeasuredError
from resync.run.evidence import EvidenceFile
from resync.run.judgements import Context, Judgement, Outcome
from resync.run.observations import PromptAsked
from resync.run.records import RoutingAudited
from resync.run.runs import Run

pytestmark = pytest.mark.unit

ENGINES = [f"default/engine-{n}" for n in range(3)]
HOLDER, OTHER = ENGINES[0], ENGINES[1]


def asked(
    target: str = HOLDER,
    selection: str = "",
    cached: int | None = 64,
    held: int | None = None,
    holder: str = HOLDER,
) -> PromptAsked:
    return PromptAsked(
        pod_key=holder,
        tokens=64,
        status=200,
        target=target,
        selection=selection,
        cached=cached,
        verified=held is not None,
        held=held,
    )


MISSED = asked(OTHER, cached=0, held=64)


@pytest.mark.parametrize(
    ("one", "became"),
    [
        (asked(), Fate.ROUTED),
        (asked(selection="prefix_match"), Fate.ROUTED),
        (asked(cached=48), Fate.GONE),
        (asked(cached=0, selection="prefix_match"), Fate.PHANTOM),
        (asked(""), Fate.UNANSWERED),
        (asked(OTHER, cached=0), Fate.UNANSWERED),
        (MISSED, Fate.MISSING),
        (asked(OTHER, "least_request_fallback", 0, 64), Fate.MISSING),
        (asked(OTHER, "prefix_match", 0, 64), Fate.MISATTRIBUTED),
        (asked(OTHER, "prefix_match_skipped", 0, 64), Fate.BUSY),
        (asked(OTHER, "prefix_match", 0, 0), Fate.PHANTOM),
        (asked(OTHER, cached=0, held=48), Fate.GONE),
    ],
)
def test_each_prompt_has_one_fate(one: PromptAsked, became: Fate) -> None:
    assert fate(one) is became


def judged(*prompts: PromptAsked, **stated: str) -> Judgement:
    audited = RoutingAudited(at=0.0, phase="after", prompts=list(prompts))
    return judge_audit(audited, Context(settings.parse(stated), ENGINES, ["default/gateway-0"], "after"))


def test_without_a_prompt_held_there_is_no_share_whatever_the_floor() -> None:
    assert judged(asked(cached=48), audit_floor="0").outcome is Outcome.NOT_EXERCISED


def test_no_miss_of_twenty_is_at_most_three_of_twenty() -> None:
    found = judged(*[asked()] * 20)
    assert (found.outcome, found.value) == (Outcome.HELD, 0.0)
    assert "20 of 20 held prompts were routed to their holder, misses between 0.0% and 13.9%" in found.detail


def test_a_breach_is_proven_and_names_kind_holder_and_count() -> None:
    found = judged(*[asked()] * 15, *[MISSED] * 4, asked(OTHER, "prefix_match", 0, 64))
    assert found.outcome is Outcome.BREACHED
    assert found.finding is not None
    assert (found.finding.kind, found.finding.pod_key, found.finding.count) == ("missing prompts", HOLDER, 4)


def test_a_share_that_could_be_chance_is_not_decided() -> None:
    """3 of 20 is above the limit of a tenth, and one time in three so many are seen of a tenth."""
    spread = [asked(holder=pod, target=f"{pod}x", cached=0, held=64) for pod in ENGINES]
    others = [asked(pod, holder=pod) for pod in ENGINES for _ in range(5)]
    found = judged(*others, asked(), asked(), *spread)
    assert found.outcome is Outcome.UNMEASURED
    assert found.detail.startswith("too few prompts to tell: 17 of 20")


def test_one_engine_that_nobody_is_routed_to_does_not_hide_among_the_others() -> None:
    """5 of 44 is no proof against a tenth; 5 of the 6 of one engine is."""
    others = [asked(pod, holder=pod) for pod in ENGINES[1:] * 19]
    found = judged(*others, asked(), *[MISSED] * 5)
    assert found.outcome is Outcome.BREACHED
    assert found.finding is not None
    assert (found.finding.pod_key, found.finding.count) == (HOLDER, 5)


def test_prompts_that_are_gone_prove_nothing() -> None:
    found = judged(*[asked()] * 11, *[asked(cached=0)] * 9)
    assert found.outcome is Outcome.NOT_EXERCISED
    assert found.detail == "11 prompts were held, 12 needed (9 no longer held)"


def test_a_gateway_that_does_not_say_where_it_sent_them_cannot_be_audited() -> None:
    found = judged(*[asked("", cached=None)] * 20)
    assert found.outcome is Outcome.NOT_EXERCISED
    assert found.detail == "0 prompts were held, 12 needed (20 unanswered, or without a target-pod)"


def test_engines_that_do_not_tell_what_they_reuse_cannot_be_audited_by() -> None:
    assert judged(*[asked(cached=None)] * 20).outcome is Outcome.UNMEASURED


# --- how it is done


@pytest.fixture
def run_over(made: ModuleType, tmp_path: Path) -> Callable[..., Run]:
    def build(**knobs: object) -> Run:
        run = Run(EvidenceFile(tmp_path / "evidence.jsonl"), "made")
        run.world = made.MadeWorld(knobs)
        run.settings = settings.parse({"staleness_limit": "0"})
        run.engines, run.gateways = made.pods(*ENGINES), made.pods("default/gateway-0")
        return run

    return build


def test_a_gateway_that_routes_right_is_asked_once_for_each_prompt(run_over: Callable[..., Run]) -> None:
    run = run_over()
    assert auditing.audit(run, "after").outcome is Outcome.HELD
    (noted,) = [one for one in run.file.read() if isinstance(one, RoutingAudited)]
    assert Counter(one.pod_key for one in noted.prompts) == dict(zip(ENGINES, (7, 7, 6), strict=True))
    assert judge_audit(noted, run.context("after")).outcome is Outcome.HELD


def test_a_gateway_deaf_to_one_engine_is_found_by_its_prompts(run_over: Callable[..., Run]) -> None:
    found = auditing.audit(run_over(astray="engine-1"), "after")
    assert found.outcome is Outcome.BREACHED
    assert found.finding is not None
    assert (found.finding.kind, found.finding.pod_key) == ("missing prompts", "default/engine-1")


@pytest.mark.parametrize("first", range(3))
def test_a_gateway_that_takes_engines_in_turn_is_not_taken_for_one_that_knows(
    run_over: Callable[..., Run], first: int
) -> None:
    found = auditing.audit(run_over(in_turn=first), "after")
    assert found.outcome is Outcome.BREACHED, found.detail


def test_what_cannot_be_told_is_asked_again_and_no_more_than_three_times(
    run_over: Callable[..., Run],
) -> None:
    run = run_over()
    assert run.settings is not None
    run.settings = settings.parse({"staleness_limit": "0", "audit_floor": "1000"})
    assert auditing.audit(run, "after").outcome is Outcome.NOT_EXERCISED
    (noted,) = [one for one in run.file.read() if isinstance(one, RoutingAudited)]
    assert len(noted.prompts) == 60


def test_without_a_prompt_there_is_nothing_to_audit_by(run_over: Callable[..., Run]) -> None:
    run = run_over()
    run.settings = settings.parse({"audit_prompts": "0"})
    with pytest.raises(UnmeasuredError, match="nothing to audit by"):
        auditing.audit(run, "after")
