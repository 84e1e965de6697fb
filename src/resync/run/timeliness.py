"""Late, and how late: the age of events at application, and how far the gateway is behind.

Under a delay both are expected and bounded; late is not wrong.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from resync.run.judgements import Context, Finding, Outcome, Part, absent, breach
from resync.run.observations import Series
from resync.run.samples import Samples
from resync.run.settings import Settings

P99 = 0.99


def event_age_limit_ms(context: Context) -> float:
    """Delay and jitter may pass through to an event's age under the fault.

    The slack is what everything else may cost.
    """
    return context.added_ms + context.settings.event_age_slack_ms


def event_age(samples: Samples, context: Context) -> Iterable[Part]:
    buckets = samples.all("resync_gateway_event_age_seconds_bucket")
    for pod in context.engines:
        mine = [b for b in buckets if b.labels.get("pod_key") == pod]
        yield (
            quantile_part(pod, cumulative(samples, mine), event_age_limit_ms(context), "events")
            if mine
            else absent(pod, "event age")
        )


def cumulative(samples: Samples, buckets: Sequence[Series]) -> dict[float, float]:
    """Events by upper bound (seconds), summed over gateways, in what the runner was awake for."""
    counts: dict[float, float] = {}
    for series in buckets:
        bound = float(series.labels["le"])
        counts[bound] = counts.get(bound, 0.0) + samples.awake_growth(series)
    return dict(sorted(counts.items()))


def quantile_part(pod: str, counts: Mapping[float, float], limit_ms: float, what: str) -> Part:
    """Whether 99 of 100 lie at or below the limit, by the buckets' own bounds.

    `counts` are observations at or below each bound (seconds).
    """
    total = counts.get(math.inf, 0.0)
    if total <= 0:
        return Part(Outcome.NOT_EXERCISED, f"none of {pod}'s {what} was counted")
    limit_s = limit_ms / 1000
    sure = max((n for bound, n in counts.items() if bound <= limit_s + 1e-9), default=0.0)
    perhaps = next(n for bound, n in counts.items() if bound >= limit_s - 1e-9)
    p99_s = next(bound for bound, n in counts.items() if n >= P99 * total)
    p99_ms = (p99_s if math.isfinite(p99_s) else max(b for b in counts if math.isfinite(b))) * 1000
    seen = f"p99 of {total:g} {what} at most {p99_ms:g} ms" + ("" if math.isfinite(p99_s) else " and more")
    if sure >= P99 * total:
        return Part(Outcome.HELD, f"{pod}: {seen}", p99_ms)
    if perhaps < P99 * total:
        found = Finding(f"{what} later than the limit", pod, total - perhaps)
        return breach(found, f": {seen}", p99_ms)
    return Part(Outcome.UNMEASURED, f"{pod}: {seen}: the limit lies inside a bucket", p99_ms)


def staleness(samples: Samples, context: Context) -> Iterable[Part]:
    settings = context.settings
    for pod in context.engines:
        seconds, blocks = (
            samples.all("resync_staleness_seconds", pod_key=pod),
            samples.all("resync_staleness_blocks", pod_key=pod),
        )
        if not seconds or not blocks:
            yield absent(pod, "staleness")
            continue
        behind = _behind(pod, _worst_awake(samples, seconds), _worst_awake(samples, blocks), settings)
        yield behind
        # What is seen to be stale needs no second sentence, which would hide how many blocks are.
        if behind.outcome is not Outcome.BREACHED:
            yield from _follows(samples, pod, settings.staleness_limit_s)


def _worst_awake(samples: Samples, series: Sequence[Series]) -> float | None:
    return max(
        (v for s in series for t, v in samples.inside(s) if not samples.timed_by_instrument(t)), default=None
    )


def _behind(pod: str, late_s: float | None, blocks: float | None, settings: Settings) -> Part:
    if late_s is None or blocks is None:
        return absent(pod, "staleness")
    if late_s > settings.staleness_limit_s or blocks > settings.staleness_limit_blocks:
        found = Finding("blocks stale", pod, blocks)
        allowed = f"{settings.staleness_limit_blocks} blocks and {settings.staleness_limit_s:g} s"
        return breach(found, f", the oldest for {late_s:.3f} s: at most {allowed} allowed", late_s)
    return Part(Outcome.HELD, f"{pod}: at most {late_s:.3f} s and {blocks:g} blocks stale", late_s)


def _follows(samples: Samples, pod: str, limit_s: float) -> Iterable[Part]:
    """Does the gateway's own applied sequence follow the published one? A frozen one still answers."""
    published = samples.all("resync_published_sequence", pod_key=pod)
    applied = samples.all("resync_gateway_applied_sequence", pod_key=pod)
    if not published or not applied:
        yield absent(pod, "sequence")
        return
    end_s = (
        min(s.points[-1][0] for s in applied if s.points)
        if all(s.points for s in applied)
        else samples.window[1]
    )
    due = [(t, v) for s in published for t, v in s.points if t < end_s - limit_s]
    reached = min((s.points[-1][1] for s in applied if s.points), default=-1.0)
    if due and reached < due[-1][1]:
        found = Finding("batches published and not applied", pod, due[-1][1] - reached)
        late_s = round(end_s - min(t for t, v in due if v > reached), 3)
        yield breach(found, f" after {limit_s:g} s: the sequence stands at {reached:g}", late_s)
