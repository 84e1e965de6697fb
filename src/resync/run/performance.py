"""How well it works while much happens: events applied, how long that takes, and requests that fail."""

from collections.abc import Iterable

from resync.run.judgements import Context, Finding, Outcome, Part, absent, breach
from resync.run.samples import Samples
from resync.run.timeliness import cumulative, quantile_part

PROCESSING = "aibrix_kvcache_zmq_event_processing_duration_seconds_bucket"
PROCESSED = "aibrix_kvcache_zmq_events_processed_total"
COMPLETED = "resync_load_completed_total"
OK = "200"


def apply_latency(samples: Samples, context: Context) -> Iterable[Part]:
    buckets = samples.all(PROCESSING)
    for pod in context.engines:
        mine = [b for b in buckets if b.labels.get("pod_key") == pod]
        limit_ms = context.settings.apply_latency_limit_ms
        counts = cumulative(samples, mine)
        yield quantile_part(pod, counts, limit_ms, "applications") if mine else absent(pod, "apply latency")


def throughput(samples: Samples, context: Context) -> Iterable[Part]:
    applied = [samples.count(PROCESSED, pod_key=pod) for pod in context.engines]
    if not all(one.series for one in applied):
        yield Part(Outcome.UNMEASURED, "the gateway does not say how many events it has applied")
        return
    rate = sum(one.total for one in applied) / samples.window_s
    least = context.settings.applied_rate_min
    seen = f"{rate:.0f} events/s applied"
    if rate < least:
        found = Finding("events/s applied", ", ".join(context.gateways), round(rate, 1))
        yield breach(found, f", {least:g} needed", rate)
    else:
        yield Part(Outcome.HELD, seen, rate)


def failed(samples: Samples) -> float:
    """How many requests of the load ended in anything but 200."""
    return sum(samples.growth(s)[0] for s in samples.all(COMPLETED) if s.labels.get("status") != OK)


def request_errors(samples: Samples, context: Context) -> Iterable[Part]:
    total, bad = sum(samples.growth(s)[0] for s in samples.all(COMPLETED)), failed(samples)
    if not total:
        yield Part(Outcome.NOT_EXERCISED, "no request ended")
        return
    if bad > context.settings.request_error_share_max * total:
        found = Finding("requests failed", ", ".join(context.gateways), bad)
        yield breach(found, f" ({total:g} ended)", bad / total)
    else:
        yield Part(Outcome.HELD, f"{bad:g} of {total:g} requests failed", bad / total)
