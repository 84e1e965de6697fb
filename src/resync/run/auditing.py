"""The black-box audit: prompts that one engine holds, asked of the gateway.

Asking costs: each prompt is computed by an engine and takes its blocks, and where the gateway sends it
elsewhere by a second one. So the prompts are short, each is used once (asking warms), their number is a
setting, and only an audit that could not tell is repeated, `ROUNDS_MAX` rounds in all.
"""

import random
from collections.abc import Iterator

from resync.run.audits import judge_audit
from resync.run.errors import UnmeasuredError
from resync.run.judgements import Judgement, Outcome
from resync.run.observations import Phase, PromptAsked
from resync.run.records import RoutingAudited
from resync.run.runs import Run
from resync.run.sampling import wait_for_time
from resync.run.worlds import World

PREFIX_TOKENS = 64
"""Whole blocks of 4 to 64 tokens. One token more is sent, since the last of a prompt is always computed."""

TOKEN_IDS = range(1_000, 32_000)
"""In the vocabulary of every model, and beyond the special tokens at its beginning."""

ROUNDS_MAX = 3
UNTOLD = {Outcome.UNMEASURED, Outcome.NOT_EXERCISED}


def audit(run: Run, phase: Phase) -> Judgement:
    """Audit the routing, note what was seen, judge it. Raises UnmeasuredError when nothing can be asked."""
    prompts: list[PromptAsked] = []
    for number in range(ROUNDS_MAX):
        prompts += _round(run, number)
        seen = RoutingAudited(at=run.now_s(), phase=phase, prompts=prompts)
        judged = judge_audit(seen, run.context(phase))
        if judged.outcome not in UNTOLD:
            break
    run.note(seen)
    run.note_judged(judged)
    return judged


def _round(run: Run, number: int) -> Iterator[PromptAsked]:
    world, settings = run.must_world(), run.must_settings()
    holders = [engine.pod_key for engine in run.engines]
    if not holders:
        raise UnmeasuredError("no engine was found to audit by", next_step="correct RESYNC_ENGINE_SELECTOR")
    if not settings.audit_prompts:
        raise UnmeasuredError("there is nothing to audit by", next_step="raise RESYNC_AUDIT_PROMPTS above 0")
    warmed = []
    for position in range(settings.audit_prompts):
        prompt = _prompt(f"{run.id} {number} {position}")
        holder = holders[position % len(holders)]
        if world.complete(prompt, engine=holder).ok:
            warmed.append((holder, prompt))
    # Later than this the gateway is not allowed to know it, whatever way it learns it by.
    wait_for_time(run, run.now_s() + settings.staleness_limit_s, "the gateway to know what engines hold")
    # A gateway that knows nothing takes the engines in turn: asked in the order of warming it would be right.
    random.Random(f"{run.id} {number}").shuffle(warmed)
    for holder, prompt in warmed:
        yield _asked(world, holder, prompt)


def _prompt(seed: str) -> list[int]:
    dice = random.Random(seed)
    return [dice.choice(TOKEN_IDS) for _ in range(PREFIX_TOKENS + 1)]


def _asked(world: World, holder: str, prompt: list[int]) -> PromptAsked:
    """Ask the gateway, and where it chose another engine, the holder: then it has had it all along."""
    answer = world.complete(prompt)
    target = f"{holder.rpartition('/')[0]}/{answer.target}" if answer.ok and answer.target else ""
    again = world.complete(prompt, engine=holder) if target not in {"", holder} else None
    return PromptAsked(
        pod_key=holder,
        tokens=PREFIX_TOKENS,
        status=answer.status,
        target=target,
        selection=answer.selection,
        cached=answer.cached_tokens,
        verified=again is not None and again.ok,
        held=None if again is None else again.cached_tokens,
    )
