"""Do the books close? What became of every batch that an engine's life has numbered, as its gateway says.

`emitted = applied + superseded + irrecoverable`, from numbers that no rate and no estimate comes into. The
right side is kept by the gateway where it decides (`resync.kvsync.ledger`), the left side is what the engine
has numbered, and after the fault the observer must have seen both level. A batch that was passed over in
silence, or counted twice, is missing on one side. What is under way is nobody's loss, so the sum is taken at
the last scrape, for as far as the gateway had come.
"""

from collections.abc import Iterable, Mapping, Sequence

from resync.run.judgements import Context, Finding, Outcome, Part, absent, breach
from resync.run.observations import Series
from resync.run.samples import Samples

BOOKS = "resync_gateway_ledger_batches"
DISPOSITIONS = ("applied", "superseded", "irrecoverable")
UNIT = "batches unaccounted for"
_REPLAYS = {
    "asked": "aibrix_kvcache_zmq_replay_requests_total",
    "complete": "aibrix_kvcache_zmq_replay_success_total",
    "incomplete": "aibrix_kvcache_zmq_replay_failures_total",
    "end markers checked": "resync_gateway_replay_ends_total",
}


def ledger(samples: Samples, context: Context) -> Iterable[Part]:
    """For every engine, the books of each gateway that follows it."""
    for pod in context.engines:
        sequences = samples.all("resync_gateway_applied_sequence", pod_key=pod)
        if not sequences:
            yield absent(pod, "applied sequence")
        for sequence in sequences:
            yield _closed(samples, pod, sequence, context.healed_s or samples.window[0])


def _closed(samples: Samples, pod: str, sequence: Series, since_s: float) -> Part:
    books = [dict(one.points) for one in _books_beside(samples, pod, sequence)]
    common = [(t, seq) for t, seq in samples.inside(sequence) if all(t in one for one in books)]
    if len(books) < len(DISPOSITIONS) or not common:
        return absent(pod, "ledger")
    at_s, seq = common[-1]
    if not _was_level(samples, pod, seq, since_s):
        return Part(Outcome.NOT_EXERCISED, f"{pod} was never seen level with its gateway after the fault")
    counted = [one[at_s] for one in books]
    replays = _replays(samples, pod)
    kept = " + ".join(f"{n:g} {kind}" for n, kind in zip(counted, DISPOSITIONS, strict=True))
    life = _incarnation(samples, pod)
    said = ", ".join(f"{n:g} {what}" for what, n in replays.items())
    told = f"{pod}, incarnation {life}: {seq + 1:g} batches emitted, {kept}; replays: {said}"
    off = seq + 1 - sum(counted)
    if off:
        found = Finding("batches unaccounted for" if off > 0 else "batches counted twice", pod, abs(off))
        return breach(found, f" ({told})", abs(off))
    if replays["complete"] > replays["end markers checked"]:
        found = Finding("replays called complete without their end", pod, replays["complete"])
        return breach(found, f" ({told})", found.count)
    return Part(Outcome.HELD, told, 0.0)


def _books_beside(samples: Samples, pod: str, sequence: Series) -> Sequence[Series]:
    """The books of that pod on the page that `sequence` is of, in the order of DISPOSITIONS."""
    found = (
        samples.all(BOOKS, **{**sequence.labels, "pod_key": pod, "disposition": kind})
        for kind in DISPOSITIONS
    )
    return [series for one in found for series in one[:1]]


def _was_level(samples: Samples, pod: str, seq: float, since_s: float) -> bool:
    """Whether every gateway had once applied all that was published.

    At a number up to `seq`: the gateway is scraped at another moment than the observer.
    """
    applied: dict[float, float] = {}
    for one in samples.all("resync_applied_sequence", pod_key=pod):
        for t, value in samples.inside(one):
            applied[t] = min(value, applied.get(t, value))
    published = (p for s in samples.all("resync_published_sequence", pod_key=pod) for p in samples.inside(s))
    return any(t >= since_s and applied.get(t) == value <= seq for t, value in published)


def _replays(samples: Samples, pod: str) -> Mapping[str, float]:
    return {what: samples.count(metric, pod_key=pod).total for what, metric in _REPLAYS.items()}


def _incarnation(samples: Samples, pod: str) -> str:
    seen = [
        (s.points[-1][0], s.labels["incarnation"]) for s in samples.all("resync_incarnation", pod_key=pod)
    ]
    return max(seen)[1] if seen else "unknown"
