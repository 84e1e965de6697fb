"""How long faults take to begin and end; how fast a gap is caught up: `python -m benchmarks.fault_times`.

All of it is looked at from outside, on the data path of one running lab with its usual load; neither the
mesh's records nor Prometheus are asked when something happened.

- apply -> effective: from the request that creates the object to the first time the fault is felt;
- heal -> clean: from the request that deletes it to the first time it is felt no more; a kill has no end, and
  is over when the engine answers again by itself, from the request that created it;
- catch-up: batches a second that the gateway applies of the engine it was cut off from, from the last look
  that found it as it was when it was cut off, until it has applied what that engine has published.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.outside import Bench, DataPath
from resync.cluster.healing import heal
from resync.kits.waits import wait_until
from resync.lab.handle import running_lab

REPETITIONS = 12
LOOK_EVERY_S = 0.002
FELT_TIMEOUT_S = 20.0
CUT_OFF_S = 10.0
CUT_OFF_RATE = 120.0
BEHIND_USUAL = 2
"""Batches that are under way at any moment."""

KINDS: dict[str, Callable[[DataPath], bool]] = {
    "network-delay": DataPath.slow,
    "network-partition": DataPath.unreachable,
    "pod-failure": DataPath.silent,
}
KILLS = ("engine-pod-kill", "container-kill")
"""In turn: another pod forgets the growing pause before a process that ended is started again."""


def since_s(began_s: float, condition: Callable[[], bool], what: str) -> float:
    """Seconds from `began_s` until it holds."""
    wait_until(condition, what=what, timeout_s=FELT_TIMEOUT_S, every_s=LOOK_EVERY_S)
    return time.monotonic() - began_s


def once(bench: Bench, kind: str, felt: Callable[[DataPath], bool]) -> tuple[float, float]:
    """Seconds from apply to effective, and from heal to clean."""
    path = DataPath.of(bench.pods)
    began_s = time.monotonic()
    applied = bench.begun(kind)
    effective_s = since_s(began_s, lambda: felt(path), f"{kind} to be felt")
    began_s = time.monotonic()
    bench.cluster.request("DELETE", applied.path)
    clean_s = since_s(began_s, lambda: not felt(path), f"{kind} to be over")
    heal(bench.cluster, applied, FELT_TIMEOUT_S)
    return effective_s, clean_s


def killed_once(bench: Bench, kind: str) -> tuple[float, float]:
    """Seconds from apply to the engine's silence, and from apply to its first answer afterwards."""
    path = DataPath.of(bench.pods)
    began_s = time.monotonic()
    applied = bench.begun(kind)
    effective_s = since_s(began_s, path.silent, f"{kind} to be felt")
    back_s = since_s(began_s, lambda: not path.silent(), "the engine to answer again")
    bench.cluster.request("DELETE", applied.path)
    heal(bench.cluster, applied, FELT_TIMEOUT_S)
    return effective_s, back_s


def spread(measured_s: Sequence[float]) -> str:
    """Median and nearest-rank p99."""
    ordered = sorted(measured_s)
    last = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return f"p50 {statistics.median(ordered):.3f} s, p99 {last:.3f} s"


def catch_up(bench: Bench) -> str:
    """How fast the gateway applies what it could not hear."""
    with bench.surge(CUT_OFF_RATE, CUT_OFF_S + FELT_TIMEOUT_S):
        applied = bench.begun("network-partition")
        since_s(0.0, lambda: DataPath.of(bench.pods).unreachable(), "the partition to be felt")
        before = bench.applied()
        time.sleep(CUT_OFF_S)  # how long the fault stands is what is asked for, not a wait for anything
        bench.cluster.request("DELETE", applied.path)
        still_s = time.monotonic()

        def first() -> bool:
            nonlocal still_s
            looked_s, seen = time.monotonic(), bench.applied()
            still_s = looked_s if seen == before else still_s
            return seen > before

        since_s(0.0, first, "the first batch afterwards")
        since_s(0.0, lambda: bench.behind() <= BEHIND_USUAL, "the gateway to have caught up")
        batches, took_s = bench.applied() - before, time.monotonic() - still_s
        heal(bench.cluster, applied, FELT_TIMEOUT_S)
    return (
        f"after {CUT_OFF_S:.0f} s of partition: {batches:.0f} batches caught up {took_s:.3f} s after the last"
        f" look that found none: at least {batches / took_s:,.0f} a second"
    )


def main() -> None:
    """All of them."""
    with (
        tempfile.TemporaryDirectory(prefix="resync-bench-") as name,
        running_lab(Path(name), "--load-arg=--bypass-share", "--load-arg=0.5") as lab,
        lab.cluster() as cluster,
    ):
        bench = Bench.of(lab, cluster)
        for kind, felt in KINDS.items():
            beginnings, ends = zip(*(once(bench, kind, felt) for _ in range(REPETITIONS)), strict=True)
            print(
                f"{kind}: apply to effective {spread(beginnings)}; heal to clean {spread(ends)}", flush=True
            )
        kills = [[killed_once(bench, kind) for kind in KILLS] for _ in range(REPETITIONS)]
        for kind, measured in zip(KILLS, zip(*kills, strict=True), strict=True):
            beginnings, ends = zip(*measured, strict=True)
            print(
                f"{kind}: apply to effective {spread(beginnings)}; apply to answering again {spread(ends)}",
                flush=True,
            )
        print(catch_up(bench), flush=True)


if __name__ == "__main__":
    main()
