"""When a window's samples are all stored: a target that was scraped again says so, else time does."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.run.evidence import EvidenceFile
from resync.run.observations import Series
from resync.run.runs import Run
from resync.run.sampling import complete_until_s, settle_s, stored_until_s
from resync.run.settings import Target

INTERVAL_S = 0.25
SETTLE_S = 0.6
NOW_S = 1000.0


def up(*stamps: float) -> Series:
    return Series(metric="up", labels={}, points=[(at, 1.0) for at in stamps])


@pytest.mark.parametrize(
    ("ups", "until_s"),
    [
        ([up(999.6, 999.85), up(999.7, 999.95)], 999.85),
        ([up(999.6, 999.85), up(999.2)], NOW_S - SETTLE_S),
        ([up(999.6, 999.85), up()], 999.85),
        ([], NOW_S - SETTLE_S),
    ],
    ids=["the last to be scraped", "one that stays away", "one that never came", "nobody"],
)
def test_complete_is_what_every_target_was_scraped_at_since(ups: list[Series], until_s: float) -> None:
    assert complete_until_s(ups, NOW_S, INTERVAL_S) == pytest.approx(until_s)


@given(
    hung_s=st.lists(st.floats(0, 2 * INTERVAL_S), min_size=1, max_size=4),
    now_s=st.floats(1.0, 2.0),
)
def test_no_sample_up_to_it_comes_later(hung_s: list[float], now_s: float) -> None:
    """Each target is scraped at its beat, or when its last scrape is over, and stored when that is over."""
    scrapes = []
    for phase, took_s in enumerate(hung_s):
        at = phase * INTERVAL_S / 4
        while at < 3.0:
            scrapes.append((phase, at, at + took_s))
            at += max(INTERVAL_S, took_s)
    seen = [up(*(at for one, at, over in scrapes if one == n and over <= now_s)) for n in range(len(hung_s))]
    until_s = complete_until_s(seen, now_s, INTERVAL_S)
    assert until_s >= now_s - settle_s(INTERVAL_S)
    assert all(over <= now_s for _, at, over in scrapes if at <= until_s)


@pytest.mark.parametrize(("target", "settled"), [(Target.LAB, False), (Target.CLUSTER, True)])
def test_only_the_labs_prometheus_is_believed_to_store_a_scrape_at_once(
    tmp_path: Path, target: Target, *, settled: bool
) -> None:
    run = Run(EvidenceFile(tmp_path / "evidence.jsonl"), "r", clock=cast("Any", Standing()))
    run.target = target
    world = SimpleNamespace(interval_s=lambda: INTERVAL_S, series=lambda _, __: [up(999.9)])
    run.world = cast("Any", world)
    assert stored_until_s(run) == pytest.approx(NOW_S - SETTLE_S if settled else 999.9)


class Standing:
    """A clock that stands."""

    def wall_s(self) -> float:
        return NOW_S
