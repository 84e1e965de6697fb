"""When the index was right and complete again after the fault, as an interval, from raw samples."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resync.run.evidence import Series
from resync.run.judgements import Context, Finding, Outcome, Part, absent
from resync.run.samples import Samples


@dataclass(frozen=True, slots=True)
class Convergence:
    """When one engine's index was right and complete again: seconds after the fault ended, as an interval."""

    pod_key: str
    earliest_s: float
    latest_s: float | None
    behind: float


def convergence(samples: Samples, pod: str, since_s: float) -> Convergence | None:
    """The interval in which `pod` converged, `latest_s` None when it had not by the last sample.

    None without samples.

    A sample is good when the gateway has applied at least what had been published one sample earlier (at
    equality in both readings of one scrape a busy engine would never converge) and no block is wrong. It has
    converged at the first sample after which all are good and at which it had applied everything published.
    """
    published = {t: v for s in samples.all("resync_published_sequence", pod_key=pod) for t, v in s.points}
    applied = _least(samples.all("resync_applied_sequence", pod_key=pod))
    wrong = _sum(samples.all("resync_divergence_blocks", pod_key=pod))
    times = sorted(t for t in published.keys() & applied.keys() if t >= since_s)
    if not times:
        return None
    last_bad, first_good, before = since_s, None, None
    for t in times:
        good = applied[t] >= published[t if before is None else before]
        if not good or wrong.get(t, 0.0) > 0:
            last_bad, first_good = t, None
        elif first_good is None and applied[t] >= published[t]:
            first_good = t
        elif first_good is None:
            last_bad = t
        before = t
    behind = max(0.0, published[times[-1]] - applied[times[-1]])
    latest = None if first_good is None else first_good - since_s
    return Convergence(pod, last_bad - since_s, latest, behind)


def _least(series: Sequence[Series]) -> dict[float, float]:
    values: dict[float, float] = {}
    for one in series:
        for t, v in one.points:
            values[t] = min(v, values.get(t, math.inf))
    return values


def _sum(series: Sequence[Series]) -> dict[float, float]:
    values: dict[float, float] = {}
    for one in series:
        for t, v in one.points:
            values[t] = values.get(t, 0.0) + v
    return values


def converged(samples: Samples, context: Context) -> Iterable[Part]:
    if context.healed_s is None:
        yield Part(Outcome.UNMEASURED, "the fault was not healed, so nothing could converge")
        return
    limit = context.convergence_limit_s
    for pod in context.engines:
        yield _convergence_part(pod, convergence(samples, pod, context.healed_s), limit)


def _convergence_part(pod: str, seen: Convergence | None, limit_s: float) -> Part:
    if seen is None:
        return absent(pod, "sequence")
    if seen.latest_s is None:
        found = Finding("batches behind after the fault", pod, seen.behind)
        return Part(Outcome.BREACHED, f"{found}: not converged within {limit_s:g} s", limit_s, found)
    if seen.latest_s > limit_s:
        found = Finding("seconds to converge after the fault", pod, round(seen.latest_s, 3))
        return Part(Outcome.BREACHED, f"{found}, {limit_s:g} allowed", seen.latest_s, found)
    return Part(
        Outcome.HELD, f"{pod} converged in [{seen.earliest_s:.2f}, {seen.latest_s:.2f}] s", seen.latest_s
    )
