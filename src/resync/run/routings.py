"""Does the router use what the index knows? Hits that truth allows, and hits that were routed.

A short window holds few such hits, and their share only tells within bounds: it is a breach where the share
of the missed ones is, at 95 % (`resync.metrics.proportions`), above what the limit leaves. A share below the
limit that chance can make too asks for more hits, as a floor does.
"""

import math
from collections.abc import Iterable

from resync.metrics.proportions import at_least
from resync.run.judgements import Context, Finding, Outcome, Part, breach
from resync.run.samples import HOLE_INTERVALS, Samples

LOAD_AGE_LIMIT_S = 2.0
"""A load that sent nothing for this long (or four scrapes, if longer) has stopped."""


def routed(samples: Samples, context: Context) -> Iterable[Part]:
    allowed = samples.count("resync_load_allowed_hits_total")
    used = samples.count("resync_load_routed_hits_total")
    # At least one, whatever is set: there is no share of nothing.
    floor = max(1, context.floor(context.settings.routed_floor, samples.window_s))
    if not allowed.series or not used.series:
        yield Part(Outcome.UNMEASURED, "the load did not report its audited requests")
        return
    yield from _load_alive(samples)
    if allowed.total < floor:
        yield Part(Outcome.NOT_EXERCISED, f"{allowed.total:g} hits allowed by truth, {floor} needed")
        return
    share, missed = used.total / allowed.total, allowed.total - used.total
    seen = f"{used.total:g} of {allowed.total:g} hits that truth allows were routed"
    limit = context.settings.routed_share_min
    if at_least(round(missed), round(allowed.total)) > 1 - limit:
        found = Finding("allowed hits not routed", ", ".join(context.gateways) or "the gateway", missed)
        yield breach(found, f": {seen}", share)
    elif share < limit:
        yield Part(Outcome.NOT_EXERCISED, f"{seen}, too few to tell whether a share of {limit:g} is", share)
    elif used.total < floor:
        yield Part(Outcome.NOT_EXERCISED, f"{used.total:g} hits routed, {floor} needed", share)
    else:
        yield Part(Outcome.HELD, seen, share)


def _load_alive(samples: Samples) -> Iterable[Part]:
    limit_s = max(LOAD_AGE_LIMIT_S, HOLE_INTERVALS * samples.interval_s)
    for series in samples.all("resync_load_last_sent_timestamp_seconds"):
        points = samples.inside(series)
        # A load that is gone is no longer scraped: its silence lasts to the end of the window.
        points += [(samples.window[1], points[-1][1])] if points else []
        quiet = [(t - sent, sent) for t, sent in points]
        longest, sent = max(quiet, default=(math.inf, 0.0))
        if longest > limit_s:
            after_s = max(0.0, sent - samples.window[0])
            yield Part(
                Outcome.UNMEASURED,
                f"the load stopped {after_s:.1f} s into the window: nothing was asked for {longest:.1f} s",
            )
