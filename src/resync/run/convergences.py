"""When the index was right and complete again after the fault, as an interval, from raw samples."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from resync.run.answers import restart, settled_s
from resync.run.judgements import Context, Finding, Outcome, Part, absent, breach
from resync.run.observations import Series
from resync.run.samples import Samples

HELD_S = 1.0
"""How long an index has to stay converged to have recovered."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """When one engine's index was right and complete again: seconds after the fault ended, as an interval."""

    pod_key: str
    earliest_s: float
    latest_s: float | None
    behind: float


def convergence(
    samples: Samples, pod: str, ended_s: float, since_s: float | None = None, *, held_s: float = math.inf
) -> Convergence | None:
    """The interval in which `pod` converged, `latest_s` None when it had not by the last sample.

    In seconds after `ended_s`, when the fault ended; samples count from `since_s` on, where that is later:
    what is said of a process that was killed is old news until another one answers. None without samples.
    Once it has been converged for `held_s`, what comes later is another matter.

    A sample is good when the gateway has applied at least what had been published one sample earlier (at
    equality in both readings of one scrape a busy engine would never converge) and no block is wrong. It has
    converged at the first sample after which all are good and at which it had applied everything published.
    """
    published = {t: v for s in samples.all("resync_published_sequence", pod_key=pod) for t, v in s.points}
    applied = _least(samples.all("resync_applied_sequence", pod_key=pod))
    wrong = _sum(samples.all("resync_divergence_blocks", pod_key=pod))
    first_s = ended_s if since_s is None else since_s
    times = sorted(t for t in published.keys() & applied.keys() if t >= first_s)
    if not times:
        return None
    last_bad, first_good, before = ended_s, None, None
    for t in times:
        good = applied[t] >= published[t if before is None else before]
        if not good or wrong.get(t, 0.0) > 0:
            last_bad, first_good = t, None
        elif first_good is None and applied[t] >= published[t]:
            first_good = t
        elif first_good is None:
            last_bad = t
        if first_good is not None and t - first_good >= held_s:
            break
        before = t
    behind = max(0.0, published[times[-1]] - applied[times[-1]])
    latest = None if first_good is None else _told_by(samples, pod, first_good) - ended_s
    return Convergence(pod, max(0.0, _true_from(samples, last_bad) - ended_s), latest, behind)


def _true_from(samples: Samples, bad_s: float) -> float:
    """From when on what the sample at `bad_s` says may have been wrong: the cut it shows had begun before."""
    began = [v for s in samples.all("resync_cut_began_timestamp_seconds") for t, v in s.points if t == bad_s]
    return min([*began, bad_s])


def _told_by(samples: Samples, pod: str, good_s: float) -> float:
    """By when the scrape of the sample at `good_s` was over."""
    pages = samples.all("resync_published_sequence", pod_key=pod)
    return max(samples.told_between(page, good_s)[1] for page in pages)


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
    since_s = counted_from_s(samples, context)
    for pod in context.engines:
        seen = None if since_s is None else recovered(samples, pod, context, since_s)
        yield _convergence_part(pod, seen, limit)


def recovered(samples: Samples, pod: str, context: Context, since_s: float) -> Convergence | None:
    """As `convergence`, for that kind of fault.

    After a kill samples reach over much that is later, and nothing recovers before a process is back.
    """
    assert context.healed_s is not None, "without an end there is no recovery"
    if not context.profile.one_shot:
        return convergence(samples, pod, context.healed_s, since_s)
    found = convergence(samples, pod, context.healed_s, since_s, held_s=HELD_S)
    waits = context.touched if context.gateway_killed or pod in context.touched else ()
    gone_s = [one.silent_s - context.healed_s for p in waits if (one := restart(samples, p)) is not None]
    return found and replace(found, earliest_s=max([found.earliest_s, *gone_s]))


def counted_from_s(samples: Samples, context: Context) -> float | None:
    """From when on samples tell of the recovery; None when what was killed did not come back.

    Where nothing is taken away, that is the first sample of a cut made after a new process had answered.
    """
    if not context.profile.one_shot:
        return context.healed_s
    back_s = settled_s(samples, sorted(context.touched))
    if back_s is None:
        return None
    cuts = samples.all("resync_last_cut_timestamp_seconds")
    firsts = [next((t for t, cut in one.points if min(t, cut) >= back_s), None) for one in cuts]
    known = [t for t in firsts if t is not None]
    return max(known) if known and len(known) == len(firsts) else None


def _convergence_part(pod: str, seen: Convergence | None, limit_s: float) -> Part:
    if seen is None:
        return absent(pod, "sequence")
    if seen.latest_s is None:
        found = Finding("batches behind after the fault", pod, seen.behind)
        return breach(found, f": not converged within {limit_s:g} s", limit_s)
    if seen.latest_s > limit_s:
        found = Finding("seconds to converge after the fault", pod, round(seen.latest_s, 3))
        return breach(found, f", {limit_s:g} allowed", seen.latest_s)
    return Part(
        Outcome.HELD, f"{pod} converged in [{seen.earliest_s:.2f}, {seen.latest_s:.2f}] s", seen.latest_s
    )
