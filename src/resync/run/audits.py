"""Does the gateway route by what engines hold? Judged from its answers alone: no index view, no metric of it.

Each prompt was used once: an engine computed it behind the gateway's back, then the gateway was asked. Where
it went to another engine, the first one was asked again whether it still held the prompt: only what was held
could be routed, and what an engine had evicted says nothing. What went wrong is told apart as far as
behaviour tells it: *missing* (held, and not routed by it), *misattributed* (held by another than the one that
was taken for its holder), *phantom* (taken for held where nothing was). A wrong prefix cannot be told from a
missing one.

So few prompts show a share only within bounds. Both are stated, each at 95 % (`resync.metrics.proportions`):
a breach is a share of misses that is proven to be above the limit, of all prompts or of those of one engine.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from resync.metrics.proportions import at_least, at_most
from resync.run.judgements import Context, Finding, Judgement, Outcome
from resync.run.observations import PromptAsked
from resync.run.records import RoutingAudited

CLAIM = "routing-audit"
UNIT = "share of misses"
_BELIEVED, _BUSY = "prefix_match", "prefix_match_skipped"
"""What a gateway may say of its choice; from one that says nothing, as AIBrix, a wrong one is no belief."""


class Fate(StrEnum):
    """What became of one prompt."""

    ROUTED = "routed to its holder"
    MISSING = "missing"
    MISATTRIBUTED = "misattributed"
    PHANTOM = "phantom"
    GONE = "no longer held"
    BUSY = "holder too busy"
    UNANSWERED = "unanswered, or without a target-pod"


MISSES = (Fate.MISSING, Fate.MISATTRIBUTED, Fate.PHANTOM)


def fate(asked: PromptAsked) -> Fate:
    """What became of that prompt."""
    if not asked.target:
        return Fate.UNANSWERED
    if asked.target != asked.pod_key:
        return _elsewhere(asked) if asked.verified else Fate.UNANSWERED
    if (asked.cached or 0) >= asked.tokens:
        return Fate.ROUTED
    return Fate.PHANTOM if asked.selection == _BELIEVED else Fate.GONE


def _elsewhere(asked: PromptAsked) -> Fate:
    believed = asked.selection == _BELIEVED
    if (asked.held or 0) < asked.tokens:
        return Fate.PHANTOM if believed and not asked.cached else Fate.GONE
    if asked.selection == _BUSY:
        return Fate.BUSY
    return Fate.MISATTRIBUTED if believed else Fate.MISSING


def judge_audit(audited: RoutingAudited, context: Context) -> Judgement:
    """The claim, of every prompt of that audit."""
    limit = 1 - context.settings.routed_share_min
    # At least one, whatever is set: there is no share of nothing.
    outcome, detail, value, finding = _judged(audited.prompts, limit, max(1, context.settings.audit_floor))
    return Judgement(CLAIM, audited.phase, outcome, value, limit, UNIT, detail, finding)


def _judged(
    prompts: Sequence[PromptAsked], limit: float, floor: int
) -> tuple[Outcome, str, float | None, Finding | None]:
    fates = Counter(fate(one) for one in prompts)
    misses, decided = _tally(prompts)
    answered = [one for one in prompts if one.target]
    if answered and all(one.cached is None and one.held is None for one in answered):
        return Outcome.UNMEASURED, "no answer says how many tokens were cached", None, None
    if decided < floor:
        rest = ", ".join(f"{n} {what}" for what, n in fates.items() if what not in {Fate.ROUTED, *MISSES})
        return Outcome.NOT_EXERCISED, f"{decided} prompts were held, {floor} needed ({rest})", None, None
    share = misses / decided
    proven = [pod for pod, (missed, of) in _by_holder(prompts).items() if at_least(missed, of) > limit]
    if proven or at_least(misses, decided) > limit:
        found = _finding(prompts, proven)
        return Outcome.BREACHED, f"{found}: {_bounds(misses, decided)}", share, found
    if share > limit:
        return Outcome.UNMEASURED, f"too few prompts to tell: {_bounds(misses, decided)}", share, None
    return Outcome.HELD, _bounds(misses, decided), share, None


def _tally(prompts: Iterable[PromptAsked]) -> tuple[int, int]:
    """Misses, and prompts that could have been routed."""
    fates = [fate(one) for one in prompts]
    misses = sum(one in MISSES for one in fates)
    return misses, misses + fates.count(Fate.ROUTED)


def _by_holder(prompts: Sequence[PromptAsked]) -> Mapping[str, tuple[int, int]]:
    holders = sorted({one.pod_key for one in prompts})
    return {pod: _tally(one for one in prompts if one.pod_key == pod) for pod in holders}


def _finding(prompts: Sequence[PromptAsked], proven: Sequence[str]) -> Finding:
    """The kind and the holder of most misses, among those that are proven where any is."""
    wrong = Counter(_misses(prompts, proven))
    (pod, kind), count = wrong.most_common(1)[0]
    return Finding(f"{kind} prompts", pod, count)


def _misses(prompts: Sequence[PromptAsked], holders: Sequence[str]) -> Iterator[tuple[str, Fate]]:
    for one in prompts:
        if (what := fate(one)) in MISSES and (not holders or one.pod_key in holders):
            yield one.pod_key, what


def _bounds(misses: int, decided: int) -> str:
    low, high = at_least(misses, decided), at_most(misses, decided)
    return (
        f"{decided - misses} of {decided} held prompts were routed to their holder,"
        f" misses between {low:.1%} and {high:.1%} (each at 95 %)"
    )
