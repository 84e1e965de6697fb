"""The positive control: a gauge that is trusted to say 0 must have been seen to say 1.

At its start, and every hour in which nothing is wrong, the observer plants one divergence for a pod that
does not exist, and says when it was last through with that. Its word is only where to look: the gauge itself
has to have been stored as 0, then 1, then 0. The planted block is nobody's; no claim counts it
(`resync.run.samples.CONTROL_POD`).
"""

import contextlib
from collections.abc import Mapping

from resync.kits.waits import WaitTimeoutError, wait_until
from resync.run.errors import RefusedError
from resync.run.observations import Series
from resync.run.runs import Run
from resync.run.samples import CONTROL_POD, Window

STAMP = "resync_control_timestamp_seconds"
GAUGE = "resync_divergence_blocks"

TOOK_S_MAX = 190.0
"""Three phases of at most a minute each, and two scrapes of a slow Prometheus."""

FRESH_SCRAPES = 20.0

AGAIN = "look at the observer's log, restart it (on the lab: resync lab down, then up), then run again"


def prove(run: Run) -> str:
    """How old the proof is, for the evidence. Raises RefusedError when a gauge's zero cannot be trusted."""
    stamps = _stamps(run)
    limit_s = run.must_settings().control_age_limit_s
    age_s = run.now_s() - min(stamps.values())
    if age_s > limit_s:
        raise RefusedError(
            f"the observer's last positive control is {age_s / 60:.0f} min old, at most {limit_s / 60:.0f}"
            " are allowed: its zero cannot be trusted",
            next_step=f"{AGAIN}, or raise RESYNC_CONTROL_AGE_LIMIT",
        )
    for gateway, stamp_s in sorted(stamps.items()):
        if not _seen(run, gateway, stamp_s):
            raise RefusedError(
                f"the observer's planted divergence for {gateway} was not seen as 0, 1, 0: its zero cannot be"
                " trusted",
                next_step=AGAIN,
            )
    return f"one planted divergence was seen as 0, 1, 0, {max(age_s, 0.0):.0f} s ago"


def _stamps(run: Run) -> Mapping[str, float]:
    """When each gateway's control was last complete; what has just started may still be at its first."""
    found: dict[str, float] = {}
    interval_s, limit_s = run.must_world().interval_s(), run.must_settings().control_limit_s

    def look() -> bool:
        end_s = run.now_s()
        series = run.must_world().series((STAMP,), (end_s - FRESH_SCRAPES * interval_s, end_s))
        found.update({s.labels.get("gateway", ""): s.points[-1][1] for s in series if s.points})
        return bool(found)

    with contextlib.suppress(WaitTimeoutError):
        wait_until(look, what="the positive control", timeout_s=limit_s, every_s=interval_s)
    if not found:
        raise RefusedError(
            "the observer did not finish its positive control (a planted divergence, seen as 0, 1, 0)"
            f" within {limit_s:g} s: its zero cannot be trusted",
            next_step=f"see that Prometheus scrapes the observer and that it exports {STAMP}; {AGAIN}",
        )
    return found


def _seen(run: Run, gateway: str, stamp_s: float) -> bool:
    window: Window = (stamp_s - TOOK_S_MAX, stamp_s + 2 * run.must_world().interval_s())
    found = run.must_world().series((GAUGE,), (window[0], min(run.now_s(), window[1])))
    planted = (s for s in found if s.labels.get("pod_key") == CONTROL_POD)
    return any(seen_0_1_0(s) for s in planted if s.labels.get("gateway") == gateway)


def seen_0_1_0(series: Series) -> bool:
    """Whether a gauge was 0, then above 0, then 0 again."""
    states = [v > 0 for _, v in series.points]
    changes = [state for i, state in enumerate(states) if i == 0 or state != states[i - 1]]
    return any(changes[i : i + 3] == [False, True, False] for i in range(len(changes) - 2))
