"""Does the gateway read what the engines publish?

Events have been published as arrays and as maps, with hashes as numbers and as bytes, in batches of two to
four elements (vLLM changed it between releases). A gateway that cannot read its engine's form counts an error
for every message and knows nothing of that engine; no claim about its index would mean anything then. Which
form an engine uses is not asked: what counts is that the gateway, in the baseline, applies events of every
engine and counts none as unreadable (names: AIBrix `pkg/cache/kvcache/metrics.go`).
"""

from collections.abc import Iterator, Sequence

from resync.run.samples import Samples

APPLIED = "aibrix_kvcache_zmq_events_processed"
ERRORS = "aibrix_kvcache_zmq_errors"
METRICS: tuple[str, ...] = tuple(
    f"{name}_{twin}" for name in (APPLIED, ERRORS) for twin in ("total", "created")
)

READABLE = (
    "start that engine with a wire form its gateway reads (on the lab: resync lab up --engine-arg "
    "--wire-form=map), or run a gateway that reads this one"
)
MEASURABLE = f"run a gateway that exports {APPLIED}_total per engine, and see that Prometheus scrapes it"


Doubt = tuple[str, str]
"""A sentence, and the next step."""


def undecoded(samples: Samples, engines: Sequence[str]) -> Iterator[Doubt]:
    """One for every engine whose messages the gateway could not decode."""
    for pod in engines:
        errors = samples.count(f"{ERRORS}_total", pod_key=pod, error_type="decode").total
        if errors > 0:
            reason = f"the gateway could not decode {errors:g} messages of {pod} in {samples.window_s:.1f} s"
            yield reason, READABLE


def unreadable(samples: Samples, engines: Sequence[str]) -> Iterator[Doubt]:
    """One for every engine whose events were not seen to be read, though each of them published some."""
    yield from undecoded(samples, engines)
    for pod in engines:
        applied = samples.count(f"{APPLIED}_total", pod_key=pod)
        if not applied.series:
            yield f"the gateway does not say how many events of {pod} it has applied", MEASURABLE
        elif applied.total <= 0:
            yield f"the gateway applied no event of {pod} in {samples.window_s:.1f} s", READABLE
