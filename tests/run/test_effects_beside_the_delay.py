"""What a partition and the failure of a pod must show, and what does not count for either."""

import itertools
from collections.abc import Sequence

import pytest

from resync.run.effects import EFFECTS, Effect
from resync.run.judgements import Context
from resync.run.observations import Series
from resync.run.profiles import PROFILES
from resync.run.readings import RTT
from resync.run.records import SamplesTaken
from resync.run.samples import Samples
from resync.run.settings import parse

POD = "default/engine-1"
STEP_S = 0.25
WINDOW = (100.0, 106.0)
TIMES = [WINDOW[0] + STEP_S * i for i in range(25)]
SETTINGS = parse({"fault_duration": "8s"})
PARTITION = EFFECTS["NetworkChaos", "partition"]
DOWNTIME = EFFECTS["PodChaos", "pod-failure"]


def series(metric: str, values: Sequence[float], **labels: str) -> Series:
    return Series(metric=metric, labels=labels, points=list(zip(TIMES, values, strict=True)))


def samples(*taken: Series) -> Samples:
    return Samples(
        SamplesTaken(
            at=WINDOW[1], phase="fault", window=WINDOW, interval_s=STEP_S, series=list(taken), instrument=[]
        )
    )


def heard(last_answer_s: Sequence[float], published: Sequence[float]) -> Samples:
    """What is stored of a path whose last answer came at these times, scrape by scrape."""
    return samples(
        series(RTT[0], [0.002] * len(TIMES), pod_key=POD),
        series(RTT[1], last_answer_s, pod_key=POD),
        series("resync_published_sequence", published, pod_key=POD),
    )


def judged(seen: Samples) -> Effect:
    return PARTITION.judged(seen, seen, [POD], SETTINGS)


SILENT = [98.9] * len(TIMES)
BUSY = [3.0 * i for i in range(len(TIMES))]


def test_silence_with_a_witness_that_the_engine_lives_is_a_partition() -> None:
    effect = judged(heard(SILENT, BUSY))
    assert effect.proven
    assert effect.pods[0].measured == {"silent_looks": 25.0, "batches_meanwhile": 72.0}


def test_one_answer_to_a_question_asked_inside_disproves_it() -> None:
    effect = judged(heard([*SILENT[:12], *[103.0] * 13], BUSY))
    assert "a round trip to default/engine-1 came through in 2.0 ms" in effect.all_doubts[0]


def test_an_answer_to_a_question_from_before_does_not() -> None:
    late = heard([*SILENT[:3], *[100.001] * 22], BUSY)
    assert PARTITION.signs(late, late, POD, SETTINGS)[0].shows


def test_silence_of_an_engine_nobody_hears_is_not_proven_to_be_a_partition() -> None:
    effect = judged(heard(SILENT, [7.0] * len(TIMES)))
    assert "others saw it publish 0 batches meanwhile, 2 needed" in effect.all_doubts[0]


def test_a_gauge_that_disappears_proves_nothing() -> None:
    effect = judged(samples(series("resync_published_sequence", BUSY, pod_key=POD)))
    assert "nothing was seen of the fault between" in effect.all_doubts[0]


def test_a_partition_too_short_to_be_called_silence_is_refused() -> None:
    assert PARTITION.refusal(parse({"fault_duration": "2s"})) is not None
    assert PARTITION.refusal(SETTINGS) is None


def test_the_path_is_back_with_the_first_answer_to_a_later_question() -> None:
    seen = heard([*SILENT[:12], *[103.0] * 13], BUSY)
    assert PARTITION.back(seen, seen, POD, SETTINGS) == 103.0
    silent = heard(SILENT, BUSY)
    assert PARTITION.back(silent, silent, POD, SETTINGS) is None


def scraped(answers: Sequence[float], **labels: str) -> Samples:
    return samples(series("up", answers, **{"pod": "engine-1", **labels}))


def test_a_pod_that_answers_no_scrape_is_down() -> None:
    down = scraped([0.0] * 25)
    assert DOWNTIME.judged(down, down, [POD], SETTINGS).proven


@pytest.mark.parametrize("at", [0, 12, 24])
def test_a_pod_that_answers_once_was_not(at: int) -> None:
    seen = scraped([float(i == at) for i in range(25)])
    effect = DOWNTIME.judged(seen, seen, [POD], SETTINGS)
    assert effect.all_doubts == ("default/engine-1 answered a scrape (1 of 25 looks at default/engine-1)",)


def test_a_pod_of_that_name_elsewhere_is_another_pod() -> None:
    seen = scraped([0.0] * 25, namespace="other")
    assert not DOWNTIME.judged(seen, seen, [POD], SETTINGS).proven


def test_a_pod_is_back_with_its_first_answer() -> None:
    seen = scraped([0.0] * 20 + [1.0] * 5)
    assert DOWNTIME.back(seen, seen, POD, SETTINGS) == TIMES[20]


SURGE = EFFECTS["Load", "surge"]
LOAD = "default/load-0"


def loaded(asked: float, sent_per_s: float) -> Samples:
    return samples(
        series("resync_load_asked_rate", [asked] * 25, pod="load-0"),
        series("resync_load_sent_total", [sent_per_s * STEP_S * i for i in range(25)], pod="load-0"),
    )


@pytest.mark.parametrize(
    ("asked", "sent_per_s", "doubt"),
    [
        (90.0, 90.0, ""),
        (90.0, 80.0, ""),  # Poisson: 9 % below, in six seconds
        (90.0, 70.0, "default/load-0 sent 70.0 of 90 requests/s: it could not keep up"),
        (30.0, 90.0, "default/load-0 asks for 30 of 90 requests/s"),
    ],
)
def test_a_surge_is_what_was_asked_for_and_sent(asked: float, sent_per_s: float, doubt: str) -> None:
    baseline, seen = loaded(30.0, 30.0), loaded(asked, sent_per_s)
    effect = SURGE.judged(baseline, seen, [LOAD], SETTINGS)
    assert effect.proven is not bool(doubt)
    assert all(one.startswith(doubt) for one in effect.all_doubts)


def test_a_load_is_as_before_with_the_first_scrape_at_its_usual_rate() -> None:
    baseline = loaded(30.0, 30.0)
    falling = samples(series("resync_load_asked_rate", [90.0] * 20 + [30.0] * 5, pod="load-0"))
    assert SURGE.back(baseline, falling, LOAD, SETTINGS) == TIMES[20]


@pytest.mark.parametrize(
    ("fault", "limit_s"),
    [
        (("NetworkChaos", "delay"), 10.0),
        (("NetworkChaos", "partition"), 10.0 + 7.0),  # the next retransmission, as far away as it stood
        (("PodChaos", "pod-failure"), 10.0 + 3.0),  # the restart limit
    ],
)
def test_how_long_convergence_may_take_follows_from_the_kind_of_fault(
    fault: tuple[str, str], limit_s: float
) -> None:
    parsed = parse({"convergence_limit": "10s", "restart_limit": "3s"})
    context = Context(parsed, [POD], [], "recovery", profile=PROFILES[fault], stood_s=7.0)
    assert context.convergence_limit_s == limit_s


def test_every_kind_of_fault_that_can_be_proven_says_what_is_asserted() -> None:
    assert EFFECTS.keys() == PROFILES.keys()
    for profile, phase in itertools.product(PROFILES.values(), ("baseline", "fault", "recovery", "after")):
        assert profile.asserted(phase)  # type: ignore[arg-type]
