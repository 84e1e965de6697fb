"""Pods that are killed: whether each is back in time, and whether anybody is still sent there meanwhile."""

from collections.abc import Iterable

from resync.run.answers import restart
from resync.run.judgements import Context, Finding, Outcome, Part, breach
from resync.run.performance import COMPLETED
from resync.run.samples import Samples

NOTICED_S = 3.0
"""Within this an engine that is gone is known to be so: two unanswered health checks take 1.25 s at most."""

LOST = frozenset({"500", "502", "503", "504", "timeout"})
"""How a request ends that was given to somebody who is gone; past the gateway it ends as unreachable."""


def returned(samples: Samples, context: Context) -> Iterable[Part]:
    """Whoever keeps a pod has started another process in its place."""
    limit_s = context.settings.restart_limit_s
    for pod in sorted(context.touched):
        found = restart(samples, pod)
        if found is None:
            yield Part(Outcome.UNMEASURED, f"no end of the process of {pod} was sampled")
            continue
        gone_s = (found.back_s or samples.window[1]) - found.last_s
        if gone_s > limit_s:
            late = Finding("seconds without a process", pod, round(gone_s, 2))
            yield breach(late, f": {limit_s:g} allowed", gone_s)
        elif found.back_s is None:
            yield Part(Outcome.UNMEASURED, f"{pod} was not back when the samples ended")
        else:
            yield Part(Outcome.HELD, f"{pod} answered again after {gone_s:.2f} s at most", gone_s)


def avoided(samples: Samples, context: Context) -> Iterable[Part]:
    """Who is gone gets no requests: all that fail through the gateway were under way when it went."""
    begin_s = samples.window[0] + NOTICED_S
    ended = samples.all(COMPLETED)
    counts = [(s.labels.get("status"), samples.growth(s, (begin_s, samples.window[1]))[0]) for s in ended]
    total, lost = sum(n for _, n in counts), sum(n for status, n in counts if status in LOST)
    if not total:
        yield Part(Outcome.NOT_EXERCISED, f"no request ended later than {NOTICED_S:g} s after the kill")
    elif lost:
        found = Finding("requests lost", ", ".join(context.engines), lost)
        yield breach(found, f", later than {NOTICED_S:g} s after it went", lost)
    else:
        yield Part(Outcome.HELD, f"none of {total:g} requests was lost to a dead engine", 0.0)
