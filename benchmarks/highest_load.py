"""How much load the lab holds on this machine, and what gives way first: `python -m benchmarks.highest_load`.

Requests a second are doubled until the p99 of the event age leaves its limit or the load no longer comes
about. Beside each: the processes that kept a core busiest meanwhile.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.outside import GATEWAY, LOAD, Bench, Page
from resync.lab.handle import LabHandle, running_lab

AGE, APPLIED = "resync_gateway_event_age_seconds", "resync_gateway_applied_sequence"
AGE_LIMIT_S = 0.25
COMES_ABOUT = 0.9
LEVEL_S = 8.0
ENDS_AFTER_S = 20.0
RATES = (60.0, 120.0, 240.0, 480.0, 960.0)
NAMED = 4


@dataclass(frozen=True)
class Level:
    """What one load came to. `shares`: of a core, by process."""

    asked_a_second: float
    sent_a_second: float
    refused_a_second: float
    batches_a_second: float
    age_s: float
    shares: Mapping[str, float]

    @property
    def held(self) -> bool:
        """Whether it came about and the events stayed young."""
        return self.sent_a_second >= COMES_ABOUT * self.asked_a_second and self.age_s <= AGE_LIMIT_S

    def __str__(self) -> str:
        """One line."""
        busiest = sorted(self.shares.items(), key=lambda item: -item[1])[:NAMED]
        named = ", ".join(f"{name} {share:.0%}" for name, share in busiest)
        return (
            f"{self.asked_a_second:.0f} requests/s asked for: {self.sent_a_second:.0f} sent,"
            f" {self.refused_a_second:.0f} not for too many in flight, {self.batches_a_second:.0f} batches/s,"
            f" event age p99 <= {self.age_s:.2f} s, {'held' if self.held else 'NOT held'};"
            f" of a core: {named}; all {sum(self.shares.values()):.0%}"
        )


def level(bench: Bench, lab: LabHandle, rate: float) -> Level:
    """That much more load for a while."""
    with bench.surge(rate, LEVEL_S + ENDS_AFTER_S):
        gateway, load, busy_s = bench.page(GATEWAY, 8080), bench.page(LOAD, 9101), processor_s(lab)
        time.sleep(LEVEL_S)  # how long it stands is what is asked for, not a wait for anything
        gateway_then, load_then, busy_then_s = (
            bench.page(GATEWAY, 8080),
            bench.page(LOAD, 9101),
            processor_s(lab),
        )
    took_s = gateway_then.at_s - gateway.at_s

    def more(name: str, then: Page, before: Page) -> float:
        return (then.total(name) - before.total(name)) / took_s

    return Level(
        load_then.total("resync_load_asked_rate"),
        more("resync_load_sent_total", load_then, load),
        more("resync_load_refused_total", load_then, load),
        more(APPLIED, gateway_then, gateway),
        p99(gateway.buckets(AGE), gateway_then.buckets(AGE)),
        {name: (used_s - busy_s.get(name, 0.0)) / took_s for name, used_s in busy_then_s.items()},
    )


def levels(bench: Bench, lab: LabHandle) -> Iterator[Level]:
    """Up to the first that is not held."""
    for rate in RATES:
        yield (reached := level(bench, lab, rate))
        if not reached.held:
            return


def processor_s(lab: LabHandle) -> dict[str, float]:
    """Processor seconds that each process of the lab has used, by what it is."""
    ticks = os.sysconf("SC_CLK_TCK")
    parents = {int(p.name): stat_of(p) for p in Path("/proc").iterdir() if p.name.isdigit()}
    family = {lab.state.pid}
    while grown := {pid for pid, stat in parents.items() if stat and int(stat[1]) in family} - family:
        family |= grown
    return {
        called(pid): (int(stat[11]) + int(stat[12])) / ticks for pid in family if (stat := parents.get(pid))
    }


def stat_of(process: Path) -> list[str] | None:
    """The fields of /proc/PID/stat after the name; None when it is gone."""
    with suppress(OSError):
        return (process / "stat").read_text().rpartition(")")[2].split()
    return None


def called(pid: int) -> str:
    """What that process is to a reader."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        module = next((word for word in words if word.startswith("resync.")), Path(words[0]).name)
        return f"{module} ({pid})"
    return str(pid)


def p99(before: Mapping[float, float], after: Mapping[float, float]) -> float:
    """The bound of the bucket in which the 99th percentile of what came in between lies."""
    added = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    total = added.get(math.inf, 0.0)
    return min((bound for bound, count in added.items() if count >= 0.99 * total), default=math.inf)


def main() -> None:
    """All of them."""
    with (
        tempfile.TemporaryDirectory(prefix="resync-bench-") as name,
        running_lab(Path(name)) as lab,
        lab.cluster() as cluster,
    ):
        for reached in levels(Bench.of(lab, cluster), lab):
            print(reached, flush=True)


if __name__ == "__main__":
    main()
