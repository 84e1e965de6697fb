"""What the preflight decides from samples alone: wire forms, the planted divergence, staleness in blocks."""

from collections.abc import Callable, Mapping
from types import ModuleType

import msgspec
import pytest

from resync.run import settings, wireforms
from resync.run.claims import BY_NAME
from resync.run.judgements import Context, Judgement, Outcome
from resync.run.observations import Series
from resync.run.planted import seen_0_1_0
from resync.run.records import SamplesTaken
from resync.run.samples import Samples
from resync.run.sampling import METRICS
from resync.run.settings import Target

BORN, START, END = 1_000_000.0, 1_000_050.0, 1_000_054.0
ENGINES = [f"default/engine-{i}" for i in range(3)]
ONE = ENGINES[1]
Sampled = Callable[..., Samples]


def taken_of(made: ModuleType, metrics: tuple[str, ...], knobs: Mapping[str, object]) -> SamplesTaken:
    series = made.Numbers(BORN, dict(knobs)).series(metrics, (START - 1, END))
    return SamplesTaken(
        at=END, phase="fault", window=(START, END), interval_s=0.1, series=series, instrument=[]
    )


@pytest.fixture
def sampled(made: ModuleType) -> Sampled:
    """The wire form's metrics over the baseline, with what `knobs` make wrong."""

    def build(change: Callable[[Series], Series | None] | None = None, **knobs: object) -> Samples:
        taken = taken_of(made, wireforms.METRICS, knobs)
        changed = [change(s) if change else s for s in taken.series]
        return Samples(msgspec.structs.replace(taken, series=[s for s in changed if s is not None]))

    return build


def test_engines_that_are_read_leave_no_doubt(sampled: Sampled) -> None:
    assert list(wireforms.unreadable(sampled(), ENGINES)) == []


def test_messages_that_cannot_be_decoded_name_engine_count_and_what_to_do(sampled: Sampled) -> None:
    ((reason, step),) = wireforms.unreadable(sampled(undecodable=ONE), ENGINES)
    assert reason == f"the gateway could not decode 80 messages of {ONE} in 4.0 s"
    assert "wire form" in step


def test_other_errors_and_errors_of_long_ago_are_not_about_the_wire_form(sampled: Sampled) -> None:
    def other(series: Series) -> Series:
        if series.metric != "aibrix_kvcache_zmq_errors_total":
            return series
        return msgspec.structs.replace(series, points=[(t, 7.0) for t, _ in series.points])

    assert list(wireforms.unreadable(sampled(other, undecodable=ONE), ENGINES)) == []


def test_an_engine_of_which_no_event_is_applied_is_named(sampled: Sampled) -> None:
    def still(series: Series) -> Series:
        if series.labels.get("pod_key") != ONE:
            return series
        return msgspec.structs.replace(series, points=[(t, 3.0) for t, _ in series.points])

    ((reason, _),) = wireforms.unreadable(sampled(still), ENGINES)
    assert reason == f"the gateway applied no event of {ONE} in 4.0 s"


def test_a_gateway_that_does_not_say_is_not_taken_for_one_that_reads(sampled: Sampled) -> None:
    def silent(series: Series) -> Series | None:
        return None if series.metric.startswith("aibrix_kvcache_zmq_events") else series

    reasons = [reason for reason, _ in wireforms.unreadable(sampled(silent), ENGINES)]
    assert reasons == [f"the gateway does not say how many events of {pod} it has applied" for pod in ENGINES]


@pytest.mark.parametrize(
    ("values", "proven"),
    [
        ([0, 0, 1, 1, 0], True),
        ([1, 0, 1, 0], True),
        ([0, 1], False),
        ([1, 0], False),
        ([0, 0, 0], False),
        ([1, 1], False),
        ([], False),
    ],
)
def test_a_control_counts_only_when_it_was_seen_to_go_and_come(values: list[float], proven: bool) -> None:  # noqa: FBT001
    points = [(float(i), float(v)) for i, v in enumerate(values)]
    assert seen_0_1_0(Series(metric="resync_divergence_blocks", labels={}, points=points)) is proven


def stale(made: ModuleType, target: Target = Target.LAB, **worst: float) -> Judgement:
    """Staleness when one engine is that far behind in one sample."""

    def raised(series: Series) -> Series:
        value = worst.get(series.metric)
        if value is None or series.labels.get("pod_key") != ONE:
            return series
        points = list(series.points)
        points[len(points) // 2] = (points[len(points) // 2][0], value)
        return msgspec.structs.replace(series, points=points)

    taken = taken_of(made, METRICS, {})
    samples = Samples(msgspec.structs.replace(taken, series=[raised(s) for s in taken.series]))
    configuration: dict[str, str] = {}
    settings.fill(configuration, declaration={}, known={}, target=target, environment={})
    context = Context(settings.parse(configuration), ENGINES, ["default/gateway-0"], "fault")
    return BY_NAME["staleness"].judged(samples, context)


def test_too_many_stale_blocks_are_a_breach_with_kind_pod_and_count(made: ModuleType) -> None:
    found = stale(made, resync_staleness_blocks=201)
    assert found.outcome is Outcome.BREACHED
    assert found.detail == (
        f"201 blocks stale on {ONE}, the oldest for 0.010 s: at most 200 blocks and 2 s allowed"
    )


def test_blocks_that_are_stale_too_long_say_how_many_they_are(made: ModuleType) -> None:
    found = stale(made, resync_staleness_blocks=41, resync_staleness_seconds=2.5)
    assert found.outcome is Outcome.BREACHED
    assert found.detail.startswith(f"41 blocks stale on {ONE}, the oldest for 2.500 s")


def test_what_a_delay_causes_is_within_the_bound(made: ModuleType) -> None:
    """46 blocks: the most that was measured on the lab in 10 s of 50 ms +- 10 ms."""
    assert stale(made, resync_staleness_blocks=46).outcome is Outcome.HELD


def test_a_cluster_has_a_bound_of_its_own(made: ModuleType) -> None:
    assert stale(made, Target.CLUSTER, resync_staleness_blocks=201).outcome is Outcome.HELD
    assert stale(made, Target.CLUSTER, resync_staleness_blocks=1001).outcome is Outcome.BREACHED


def test_every_limit_is_set_by_one_environment_variable() -> None:
    fields = {f.attribute: f.env for f in settings.FIELDS}
    assert set(settings.Settings.__struct_fields__) == fields.keys()
    assert len(set(fields.values())) == len(fields)
    for limit in ("mesh_limit_s", "inject_limit_s", "heal_limit_s", "control_age_limit_s"):
        assert fields[limit] == f"RESYNC_{limit.removesuffix('_s').upper()}"
