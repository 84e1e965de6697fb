"""Wrong, in four kinds, at every cut; and sequence gaps that nobody closed.

The observer compares each gateway's index with what the engines hold at the same sequence. Its word counts
only while it is whole (every gateway audited), fresh (a new cut all along) and busy (blocks came and went,
some held twice).
"""

import math
import statistics
from collections.abc import Iterable, Sequence

from resync.run.judgements import Context, Finding, Outcome, Part, absent, breach
from resync.run.samples import HOLE_INTERVALS, Samples

CUT_AGE_LIMIT_S = 2.0
"""Without a new cut for this long (or four scrapes, if longer) the audit was blind."""

KINDS = ("missing", "phantom", "misattributed", "mis-hashed")


def divergence(samples: Samples, context: Context) -> Iterable[Part]:
    yield from _wrong_blocks(samples, context)
    # A count of cuts does not say whose blocks were wrong.
    if not context.excused:
        yield from _wrong_cuts(samples)
    yield from _audit_whole(samples, context)
    yield from _audit_fresh(samples, context)
    yield from _audit_exercised(samples, context)


def _wrong_blocks(samples: Samples, context: Context) -> Iterable[Part]:
    """Of each pod what was worst; what else was wrong with it stands beside."""
    worst: dict[str, dict[str, float]] = {}
    for series in samples.all("resync_divergence_blocks"):
        pod, kind = series.labels.get("pod_key", "unknown"), series.labels.get("kind", "unknown")
        blocks = max((v for _, v in samples.inside(series)), default=0.0)
        if blocks > 0 and pod not in context.excused:
            worst.setdefault(pod, {})[kind] = blocks
    for pod, blocks_of in worst.items():
        (kind, blocks), *others = sorted(blocks_of.items(), key=lambda found: -found[1])
        found = Finding(f"{kind} blocks", pod, blocks)
        beside = f", beside {' and '.join(f'{n:g} {what}' for what, n in others)}" if others else ""
        said = ", and the gateway calls that source degraded" if _degraded(samples, pod) else ""
        yield breach(found, f" at one cut{beside}{said}", blocks)


def _degraded(samples: Samples, pod: str) -> bool:
    """Whether the gateway ends the window without knowing its index of that pod to be exact."""
    exact = [samples.inside(s) for s in samples.all("resync_gateway_source_exact", pod_key=pod)]
    return any(points and not points[-1][1] for points in exact)


def _wrong_cuts(samples: Samples) -> Iterable[Part]:
    for series in samples.all("resync_divergent_cuts_total"):
        cuts = samples.growth(series)[0]
        if cuts > 0:
            found = Finding("divergent cuts", series.labels.get("gateway", "unknown"), cuts)
            # Ranked below any sample that names the blocks: those say more.
            yield breach(found, ", gone again before a sample showed which blocks", 0.0)


def _audit_whole(samples: Samples, context: Context) -> Iterable[Part]:
    selected = [v for s in samples.all("resync_gateways_selected") for _, v in samples.inside(s)]
    audited = [v for s in samples.all("resync_gateways_audited") for _, v in samples.inside(s)]
    if not selected or not audited:
        yield Part(Outcome.UNMEASURED, "the observer did not say how many gateways it audits")
    elif (usual := _usual(audited, context)) < (all_of := max([*selected, len(context.gateways)])):
        yield Part(Outcome.UNMEASURED, f"{usual:g} of {all_of:g} gateways audited")
    have = {(s.labels.get("pod_key"), s.labels.get("kind")) for s in samples.all("resync_divergence_blocks")}
    lacking = [f"{pod} ({kind})" for pod in context.engines for kind in KINDS if (pod, kind) not in have]
    if lacking:
        yield Part(Outcome.UNMEASURED, f"no divergence sampled for {lacking[0]}")


def _usual(audited: Sequence[float], context: Context) -> float:
    """How many are audited as a rule; where a gateway was killed, once it is back."""
    return max(audited) if context.gateway_killed else statistics.median_low(audited)


def _audit_fresh(samples: Samples, context: Context) -> Iterable[Part]:
    """No gateway went without a cut for long: also one that usually has them."""
    limit_s = max(CUT_AGE_LIMIT_S + context.blind_s, HOLE_INTERVALS * samples.interval_s)
    stamps = samples.all("resync_last_cut_timestamp_seconds")
    if not stamps:
        yield Part(Outcome.UNMEASURED, "the observer took no cut")
    for series in stamps:
        points = samples.inside(series)
        old = max((t - cut for t, cut in points), default=math.inf)
        if old > limit_s:
            yield Part(Outcome.UNMEASURED, f"the audit was blind: no new cut for {old:.1f} s")


def _audit_exercised(samples: Samples, context: Context) -> Iterable[Part]:
    removed = samples.count("resync_blocks_removed_total").total
    shared = samples.level("resync_shared_hashes") or 0.0
    floors = (
        ("blocks removed", removed, context.floor(context.settings.removed_floor, samples.window_s)),
        ("hashes held by two engines", shared, context.settings.shared_floor if context.faulted else 0),
        *(
            (f"audited blocks of {p}", samples.count("resync_audited_blocks_total", pod_key=p).total, 1)
            for p in context.engines
        ),
    )
    for what, seen, floor in floors:
        if seen < floor:
            yield Part(Outcome.NOT_EXERCISED, f"{seen:g} {what}, {floor} needed")
    yield Part(Outcome.HELD, f"every cut agreed; {removed:g} blocks removed, {shared:g} hashes shared", 0.0)


def replays(samples: Samples, context: Context) -> Iterable[Part]:
    """What was lost was asked for and came: where nothing was asked for, nothing about replay is shown."""
    for pod in context.engines:
        asked, done, failed = (
            samples.count(f"aibrix_kvcache_zmq_replay_{what}_total", pod_key=pod)
            for what in ("requests", "success", "failures")
        )
        seen = f"{pod}: {asked.total:g} replays asked for, {done.total:g} complete, {failed.total:g} failed"
        if not asked.series or not done.series:
            yield absent(pod, "replay counter")
        elif not asked.total:
            yield Part(Outcome.NOT_EXERCISED, f"no replay of {pod} was asked for")
        elif not done.total:
            found = Finding("replays without a complete answer", pod, asked.total)
            yield breach(found, "", found.count)
        else:
            yield Part(Outcome.HELD, seen, failed.total)


def gaps(samples: Samples, context: Context) -> Iterable[Part]:
    for pod in context.engines:
        seen = samples.count("resync_gateway_gaps_total", pod_key=pod)
        repaired = samples.count("resync_gateway_gaps_repaired_total", pod_key=pod)
        if not seen.series or not repaired.series:
            yield absent(pod, "gap counter")
        elif seen.total > repaired.total:
            found = Finding("unrepaired gaps", pod, seen.total - repaired.total)
            yield breach(found, f" ({seen.total:g} seen)", found.count)
        elif not seen.exact:
            yield Part(Outcome.UNMEASURED, f"the gateway's gap counter of {pod} restarted")
        else:
            yield Part(Outcome.HELD, f"{pod}: {seen.total:g} gaps, all repaired", 0.0)
