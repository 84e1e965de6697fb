"""How a source recovered, stage by stage: noticed, asked for a replay, got it, right again, used again.

Each stage is a fact of which samples are moments: it was not so at one scrape and was so at the next, so its
time is an interval, in seconds after the end of the fault (below 0: while it still stood); of a kill, after
the mesh had reported it. A page is written at some moment of its scrape, and what it says of a cut was so at
some moment of that: the interval reaches from the begin of the one to the end of the other. What did not
happen within the recovery's samples stays in the result as what it is, a censored time: `latest_s` is None
and `earliest_s` is how long it was waited for. A stage nobody entered (no replay was needed) is absent.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from resync.run.answers import restart
from resync.run.convergences import counted_from_s, recovered
from resync.run.judgements import Context
from resync.run.observations import Series
from resync.run.samples import Samples

COUNTED: Mapping[str, tuple[str, ...]] = {
    "noticed": (
        "aibrix_kvcache_zmq_disconnections_total",
        "resync_gateway_gaps_total",
        "aibrix_kvcache_zmq_replay_requests_total",
    ),
    "replay-asked": ("aibrix_kvcache_zmq_replay_requests_total",),
    "replay-complete": ("aibrix_kvcache_zmq_replay_success_total",),
}
"""Stages that are there when a counter of the gateway has grown; names as AIBrix exports them."""

MUST_FOLLOW = {"replay-asked": "replay-complete"}
"""A stage after which the other one is owed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of one source: seconds after the end of the fault; `latest_s` None: not reached."""

    name: str
    pod_key: str
    earliest_s: float
    latest_s: float | None


def stages(samples: Samples, pods: Sequence[str], context: Context, *, share_min: float) -> Iterator[Stage]:
    """Every stage that was entered, for each of `pods`, in order; the last is the router's, for all of them.

    `samples` reach back to the injection. What was killed has one more: back.
    """
    ended_s = context.healed_s
    assert ended_s is not None, "without an end there is no recovery"
    for pod in sorted(context.touched) if context.profile.one_shot else ():
        yield from _back(samples, pod, ended_s)
    for pod in pods:
        yield from _of(samples, pod, context, ended_s)
    used = _used_again(samples, ended_s, share_min)
    if used is not None:
        yield used


def _back(samples: Samples, pod: str, ended_s: float) -> Iterator[Stage]:
    """The first answer of a new process."""
    found = restart(samples, pod)
    if found is not None:
        latest_s = None if found.back_s is None else found.back_s - ended_s
        yield Stage("back", pod, found.silent_s - ended_s, latest_s)


def _of(samples: Samples, pod: str, context: Context, ended_s: float) -> Iterator[Stage]:
    seen: set[str] = set()
    for name, metrics in COUNTED.items():
        counters = [(s, _births(samples, m, pod)) for m in metrics for s in samples.all(m, pod_key=pod)]
        grown = [g for s, births in counters if (g := first_growth(s, samples, births))]
        if grown:
            seen.add(name)
            earliest, latest = min(grown)
            yield Stage(name, pod, earliest - ended_s, latest - ended_s)
    for name, owed in MUST_FOLLOW.items():
        if name in seen and owed not in seen:
            yield Stage(owed, pod, samples.window[1] - ended_s, None)
    since_s = counted_from_s(samples, context)
    turned = None if since_s is None else recovered(samples, pod, context, since_s)
    if turned is not None:
        yield Stage("converged", pod, turned.earliest_s, turned.latest_s)


def _births(samples: Samples, counter: str, pod: str) -> Mapping[float, float]:
    """When the counter began to count, as it says itself at each scrape."""
    created = f"{counter.removesuffix('_total')}_created"
    return {t: v for s in samples.all(created, pod_key=pod) for t, v in s.points}


def first_growth(
    series: Series, samples: Samples, births: Mapping[float, float] = MappingProxyType({})
) -> tuple[float, float] | None:
    """Between which two samples a counter first grew in the window; None when it never did."""
    points = [p for p in series.points if p[0] <= samples.window[1]]
    for (before_s, before), (at_s, value) in itertools.pairwise(points):
        # A counter that fell, or began anew, was born again: what it shows now, it has grown. A scrape that
        # began before the window can show what happened in it.
        reborn = value < before or births.get(before_s) != births.get(at_s)
        by_s = samples.told_between(series, at_s)[1]
        if by_s >= samples.window[0] and (value > before or (reborn and value > 0)):
            return samples.told_between(series, before_s)[0], by_s
    return None


def _used_again(samples: Samples, ended_s: float, share_min: float) -> Stage | None:
    """From when on the hits that truth allows were routed as often as they have to be."""
    allowed = samples.all("resync_load_allowed_hits_total")
    routed = samples.all("resync_load_routed_hits_total")
    if not allowed or not routed:
        return None
    times = [t for t, _ in allowed[0].points if ended_s <= t <= samples.window[1]]
    before_s = 0.0
    for t in times:
        could, did = (_grown_from(series, t, samples.window[1]) for series in (allowed, routed))
        if could > 0 and did >= share_min * could:
            return Stage("used", "every engine", before_s, t - ended_s)
        before_s = t - ended_s
    return Stage("used", "every engine", before_s, None)


def _grown_from(series: Sequence[Series], since_s: float, until_s: float) -> float:
    total = 0.0
    for one in series:
        points = [v for t, v in one.points if since_s <= t <= until_s]
        total += max(0.0, points[-1] - points[0]) if points else 0.0
    return total
