"""A gateway's books against what an engine has numbered: they close exactly, or the difference is named."""

from collections.abc import Mapping, Sequence

import pytest

from resync.run.judgements import Context, Outcome, Part
from resync.run.ledgers import ledger
from resync.run.observations import Series
from resync.run.records import SamplesTaken
from resync.run.samples import Samples
from resync.run.settings import parse

pytestmark = pytest.mark.unit

POD, GATEWAY, LIFE = "default/engine-0", "default/gateway-0", "5f1e"
WINDOW, HEALED_S, STEP_S = (100.0, 102.0), 100.5, 0.25
PAGE = {"pod_key": POD, "pod": "gateway-0"}
CUT = {"pod_key": POD, "pod": "observer-0"}
SEEN_S = 0.1
"""So much later than the gateway the observer is scraped."""


def series(metric: str, values: Sequence[float], labels: Mapping[str, str], **more: str) -> Series:
    later_s = SEEN_S if labels is CUT else 0.0
    points = [(WINDOW[0] + STEP_S * n + later_s, float(v)) for n, v in enumerate(values)]
    return Series(metric=metric, labels={**labels, **more}, points=points)


def part(
    *,
    applied: list[float],
    superseded: float = 0,
    irrecoverable: float = 0,
    sequence: tuple[float, ...] = (7, 7, 8, 9),
    published: tuple[float, ...] = (7, 7, 7, 9),
    level: tuple[float, ...] = (7, 7, 7, 9),
    ends: float = 2,
    lacks: str = "",
) -> Part:
    counts = {"requests": 2, "success": 2, "failures": 0}
    taken = [
        series("resync_gateway_applied_sequence", sequence, PAGE),
        series("resync_gateway_ledger_batches", applied, PAGE, disposition="applied"),
        series("resync_gateway_ledger_batches", [superseded] * 4, PAGE, disposition="superseded"),
        series("resync_gateway_ledger_batches", [irrecoverable] * 4, PAGE, disposition="irrecoverable"),
        series("resync_published_sequence", published, CUT),
        series("resync_applied_sequence", level, CUT, gateway=GATEWAY),
        series("resync_incarnation", [1] * 4, CUT, incarnation=LIFE),
        series("resync_gateway_replay_ends_total", [0, 0, 0, ends], PAGE),
        *(
            series(f"aibrix_kvcache_zmq_replay_{what}_total", [0, 0, 0, n], PAGE)
            for what, n in counts.items()
        ),
    ]
    samples = SamplesTaken(
        at=WINDOW[1],
        phase="recovery",
        window=WINDOW,
        interval_s=STEP_S,
        series=[one for one in taken if one.metric != lacks],
        instrument=[],
    )
    context = Context(parse({}), [POD], [GATEWAY], "recovery", HEALED_S)
    (found,) = ledger(Samples(samples), context)
    return found


def test_books_that_close_say_what_became_of_every_batch() -> None:
    found = part(applied=[8, 8, 9, 10])
    assert (found.outcome, found.value) == (Outcome.HELD, 0)
    assert found.detail == (
        f"{POD}, incarnation {LIFE}: 10 batches emitted, 10 applied + 0 superseded + 0 irrecoverable;"
        " replays: 2 asked, 2 complete, 0 incomplete, 2 end markers checked"
    )


def test_what_is_provably_lost_is_accounted_for() -> None:
    assert part(applied=[5, 5, 6, 7], superseded=1, irrecoverable=2).outcome is Outcome.HELD


@pytest.mark.parametrize(
    ("applied", "kind", "count"), [(7.0, "unaccounted for", 3), (12.0, "counted twice", 2)]
)
def test_books_that_do_not_close_name_pod_incarnation_and_difference(
    applied: float, kind: str, count: int
) -> None:
    found = part(applied=[8, 8, 9, applied])
    assert found.outcome is Outcome.BREACHED
    assert found.finding is not None
    assert (found.finding.pod_key, found.finding.count) == (POD, count)
    assert found.detail.startswith(f"{count} batches {kind} on {POD} ({POD}, incarnation {LIFE}: ")


def test_a_replay_called_complete_without_its_end_is_a_breach() -> None:
    found = part(applied=[8, 8, 9, 10], ends=1)
    assert found.outcome is Outcome.BREACHED
    assert found.detail.startswith("2 replays called complete without their end on")


def test_a_gateway_that_was_never_level_after_the_fault_shows_nothing() -> None:
    """Level before it, and level at a number that its own books have not come to, are not enough."""
    behind = part(applied=[8, 8, 9, 10], level=(7, 6, 6, 8))
    ahead = part(applied=[8, 8, 8, 8], sequence=(7, 7, 7, 7), published=(7, 9, 9, 9), level=(7, 9, 9, 9))
    assert {behind.outcome, ahead.outcome} == {Outcome.NOT_EXERCISED}


@pytest.mark.parametrize("lacks", ["resync_gateway_ledger_batches", "resync_gateway_applied_sequence"])
def test_a_gateway_without_books_is_unmeasured(lacks: str) -> None:
    assert part(applied=[8, 8, 9, 10], lacks=lacks).outcome is Outcome.UNMEASURED
