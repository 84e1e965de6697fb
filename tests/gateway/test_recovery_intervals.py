"""The interval of a recovery contains the true instant, every time.

Engines, a gateway and an observer as processes, scraped by a real Prometheus every 250 ms, with relays
between gateway and engines that are cut and healed at random moments of the scrape. The gateway notes the
true instants itself; the intervals are those of the product, from what Prometheus has stored. With samples
taken for moments, and not for pages that are written during a scrape, some of 250 intervals miss.
"""

import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resync.kits.shields import UNSHIELDED
from resync.kits.waits import wait_until
from resync.lab.prometheus import Target
from resync.metrics.recoveries import recovery
from resync.metrics.series import STAMP_MOVED_S
from resync.run import settings
from resync.run.judgements import Context
from resync.run.observations import Series
from resync.run.records import SamplesTaken
from resync.run.samples import Samples, stored
from resync.run.sampling import METRICS, settle_s
from resync.run.scrapes import Scrapes
from resync.run.stages import stages

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BENCH = Path(__file__).parent / "bench"
ENGINES = 5
SCRAPE_S = 0.25
EXACT = "resync_gateway_source_exact"
CUT_BEGAN = "resync_cut_began_timestamp_seconds"
HOLE_S = 30.0
"""A scrape that a busy machine misses is no sign that something was wrong: the interval is the wider."""
STAGES = ("noticed", "replay-asked", "replay-complete", "converged")
CUT_S = 0.4
ROUNDING_S = 0.001
SETTINGS = settings.parse({})
COUNTED = ("noticed", "replay-asked", "replay-complete")
"""What the next page shows; convergence is shown by the cuts of the observer, four a second too."""


class Stand:
    """The processes, their Prometheus, and the dice."""

    def __init__(
        self, fleet: Any, relays: Any, scrapes: Scrapes, complete: Callable[..., Any], gateway: Any
    ) -> None:
        self.fleet, self.relays, self.scrapes = fleet, relays, scrapes
        self.complete, self.gateway = complete, gateway
        self.dice = random.Random(20)
        self._prompts = 0

    def publish(self, engine: Any) -> None:
        """Two batches that the gateway cannot hear."""
        for _ in range(2):
            self._prompts += 1
            self.complete(engine, [100_000 + self._prompts * 100 + n for n in range(40)])

    def notes(self) -> list[dict[str, Any]]:
        lines = self.gateway.log().splitlines()
        return [json.loads(line.removeprefix("NOTE ")) for line in lines if line.startswith("NOTE ")]

    def level(self) -> bool:
        """Whether the gateway is exact again, with all that every engine has published."""
        pods = msgspec.json.decode(self.gateway.get("/index"))["pods"]
        return all(
            pods[engine.pod_key]["exact"]
            and pods[engine.pod_key]["applied_seq"]
            == msgspec.json.decode(engine.get("/truth"))["published_seq"]
            for engine in self.fleet.engines
        )

    def shown(self, since_s: float) -> bool:
        """Whether Prometheus has a page of the gateway, and a cut, that were begun since then."""
        series = self.scrapes.series((EXACT, CUT_BEGAN), (since_s, time.time()))
        pages = sum(one.metric == EXACT for one in series)
        return pages == ENGINES and any(
            value >= since_s for one in series if one.metric == CUT_BEGAN for _, value in one.points
        )

    def pause(self, about_s: float) -> None:
        """Let a random part of a scrape more than that pass: the phase is what is varied."""
        until_s = time.time() + about_s + self.dice.random() * SCRAPE_S
        wait_until(lambda: time.time() >= until_s, what="the moment", timeout_s=5, every_s=0.002)


@pytest.fixture
def stand(
    fleet_of: Callable[[int], Any],
    complete: Callable[..., Any],
    served: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stand]:
    fleet = fleet_of(ENGINES)
    relays = fleet.relays()
    monkeypatch.setenv("PYTHONPATH", str(BENCH))
    ways = ",".join(f"{way.name}={way.ip}" for way in relays)
    gateway = fleet.start("gateway-0", 8080, "notinggateway", "--static-engines", ways)
    gateway.wait_until_whole(engines=ENGINES)
    observer = fleet.observer(gateway)
    targets = [
        Target(role, f"{one.ip}:{port}", one.name)
        for role, one, port in (("gateway", gateway, 8080), ("observer", observer, 9100))
    ]
    with served(tmp_path / "prometheus", targets) as url:
        scrapes = Scrapes(settings.parse({"prometheus_url": url}), UNSHIELDED)
        made, begun_s = Stand(fleet, relays, scrapes, complete, gateway), time.time()
        try:
            wait_until(
                lambda: made.shown(begun_s), what="Prometheus to scrape both", timeout_s=30, every_s=0.1
            )
            yield made
        finally:
            scrapes.close()


def one_round(stand: Stand) -> dict[str, tuple[float, float]]:
    """Every engine cut off and let in again, each at a moment of its own; when that was, by pod."""
    engines = stand.fleet.engines
    for engine in engines:
        stand.publish(engine)
    wait_until(stand.level, what="everything to be level", timeout_s=30)
    # Nothing of the round before is left in the window of this one.
    stand.pause(2 * SCRAPE_S)
    cut_s = {}
    for relay, engine in zip(stand.relays, engines, strict=True):
        cut_s[engine.pod_key] = time.time()
        relay.cut()
        stand.publish(engine)
    stand.pause(CUT_S)
    healed_s = {}
    for relay, engine in zip(stand.relays, engines, strict=True):
        healed_s[engine.pod_key] = time.time()
        relay.mend()
    wait_until(stand.level, what="everything to be level again", timeout_s=60)
    level_s = time.time()
    wait_until(lambda: stand.shown(level_s), what="Prometheus to have seen it", timeout_s=30, every_s=0.1)
    return {pod: (cut_s[pod], healed_s[pod]) for pod in cut_s}


def truths(notes: list[dict[str, Any]], pod: str, since_s: float, until_s: float) -> Mapping[str, float]:
    """When each stage was entered: the first note of its kind, the last one where it is about all of it."""
    mine = [note for note in notes if note["pod"] == pod and since_s <= note["at"] <= until_s]
    at: dict[str, float] = {}
    for note in mine:
        if note["what"] in {"converged", "exact"}:
            at[note["what"]] = note["at"]
        else:
            at.setdefault(note["what"], note["at"])
    return at


def taken(series: list[Series], window: tuple[float, float]) -> Samples:
    return Samples(
        SamplesTaken(
            at=window[1], phase="recovery", window=window, interval_s=SCRAPE_S, series=series, instrument=[]
        )
    )


def exactness(samples: Samples, pod: str, healed_s: float) -> tuple[float, float] | None:
    """The same of a gauge, by `resync.metrics.recoveries`; None where no sample is bad."""
    durations = samples.all("scrape_duration_seconds", job="gateway")
    found = recovery(
        [stored(one) for one in samples.all(EXACT, pod_key=pod)],
        lambda value: value == 1,
        fault_end_s=healed_s,
        until_s=samples.window[1],
        hold_s=0.0,
        max_gap_s=HOLE_S,
        scrape_s=max(v for one in durations for _, v in samples.inside(one)),
    )
    assert found.recovered, found
    assert found.earliest_s is not None
    assert found.latest_s is not None
    return (found.earliest_s, found.latest_s) if found.latest_s > 0 else None


def pages_of(samples: Samples, pod: str) -> list[tuple[float, float]]:
    """Between which two instants each page of the gateway was written."""
    took = {t: v for one in samples.all("scrape_duration_seconds", job="gateway") for t, v in one.points}
    (exact,) = samples.all(EXACT, pod_key=pod)
    return [(t - STAMP_MOVED_S, t + took[t] + STAMP_MOVED_S) for t, _ in exact.points]


def between_pages_s(samples: Samples, pod: str, at_s: float) -> float:
    """How wide an interval around that instant is which two pages bound, one after the other.

    However busy the machine is: what was scraped late or missed makes the pages rare, and no interval blunt.
    """
    pages = pages_of(samples, pod)
    # A page that was being written at that instant may show it, or the next one does.
    first = next(n for n, (_, end_s) in enumerate(pages) if end_s >= at_s)
    pairs = itertools.pairwise(pages[first - 1 : first + 2])
    return max(later[1] - earlier[0] for earlier, later in pairs) + ROUNDING_S


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(2, id="10 recoveries"),
        pytest.param(10, id="50 recoveries", marks=[pytest.mark.nightly, pytest.mark.timeout(600)]),
    ],
)
def test_every_interval_contains_its_true_instant(
    stand: Stand, rounds: int, record_property: Callable[[str, object], None]
) -> None:
    widths: dict[str, list[float]] = {}
    outside: list[str] = []
    blunt: list[str] = []
    for _ in range(rounds):
        moments = one_round(stand)
        end_s = time.time()
        stand.pause(settle_s(SCRAPE_S))
        series = stand.scrapes.series((*METRICS, EXACT), (min(c for c, _ in moments.values()) - 1, end_s))
        notes = stand.notes()
        for pod, (cut_s, healed_s) in moments.items():
            samples = taken(series, (cut_s, end_s))
            context = Context(SETTINGS, [pod], [stand.gateway.pod_key], "recovery", healed_s)
            known = truths(notes, pod, cut_s, end_s)
            found = {one.name: one for one in stages(samples, [pod], context, share_min=0.9)}
            assert found.keys() == set(STAGES), f"{pod}: {found}"
            bounds = {name: (one.earliest_s, one.latest_s) for name, one in found.items()}
            if (exact := exactness(samples, pod, healed_s)) is not None:
                bounds["exact"] = exact
            else:
                # No page may have been written meanwhile: a busy machine scrapes seldom.
                shown = [
                    p for p in pages_of(samples, pod) if known["noticed"] <= p[0] and p[1] <= known["exact"]
                ]
                assert not shown, f"{pod} was not exact on {shown}, and was never seen so"
            for name, (earliest_s, latest_s) in bounds.items():
                true_s = known[name] - healed_s
                assert latest_s is not None, f"{name} of {pod} was not reached"
                widths.setdefault(name, []).append(latest_s - earliest_s)
                if not earliest_s <= true_s <= latest_s:
                    outside.append(f"{name} of {pod}: {true_s:.4f} not in [{earliest_s:.4f}, {latest_s:.4f}]")
                if name in COUNTED and latest_s - earliest_s > (
                    possible_s := between_pages_s(samples, pod, known[name])
                ):
                    blunt.append(
                        f"{name} of {pod}: {latest_s - earliest_s:.4f} wide, pages allow {possible_s:.4f}"
                    )
    medians = {name: round(statistics.median(seen), 3) for name, seen in widths.items()}
    record_property("median widths of the intervals, s", medians)
    assert not outside, f"{len(outside)} of {sum(map(len, widths.values()))}: {outside}"
    assert not blunt
