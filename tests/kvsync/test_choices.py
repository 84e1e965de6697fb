"""Where requests go, whom to subscribe to, and how an index differs from the truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from resync.kvsync import fleet, router, truth
from resync.kvsync.errors import NoPodError
from resync.kvsync.fleet import Changes, PodFacts
from resync.kvsync.index import IndexEntry
from resync.kvsync.records import Batch, BlockRemoved, BlockStored
from resync.kvsync.router import Decision, Selection
from resync.kvsync.source import Source
from resync.kvsync.truth import DivergenceKind, Finding, Held

pytestmark = pytest.mark.unit

MATCH, FALLBACK = Selection.PREFIX_MATCH, Selection.LEAST_REQUEST_FALLBACK
SKIPPED = Selection.PREFIX_MATCH_SKIPPED


@pytest.mark.parametrize(
    ("matches", "running", "blocks", "expected"),
    [
        ({"a": 3, "b": 5}, {"a": 0, "b": 8}, 10, Decision("b", MATCH, 5, 10)),
        # more than 8 above the least loaded
        ({"a": 3, "b": 5}, {"a": 0, "b": 9}, 10, Decision("a", MATCH, 3, 10, imbalanced=True)),
        ({"b": 5}, {"a": 0, "b": 9}, 10, Decision("a", SKIPPED, 0, 10, imbalanced=True)),
        ({"b": 2}, {"a": 0, "b": 9}, 10, Decision("a", FALLBACK, 0, 10, imbalanced=True)),
        ({"b": 2}, {"a": 0, "b": 0}, 10, Decision("a", FALLBACK, 0, 10)),  # 20 % of the prompt is no match
        ({"b": 3}, {"a": 0, "b": 1}, 10, Decision("b", MATCH, 3, 10)),  # 30 % is
        ({"a": 5, "b": 5}, {"a": 2, "b": 1}, 10, Decision("b", MATCH, 5, 10)),  # equal: the less loaded
        ({"gone": 9}, {"a": 1, "b": 0}, 10, Decision("b", FALLBACK, 0, 10)),  # not among the ready ones
        ({}, {"a": 0}, 0, Decision("a", FALLBACK, 0)),
        ({"a": 1}, {"a": 0, "b": 0}, 1, Decision("a", MATCH, 1, 1)),
    ],
)
def test_the_longest_prefix_wins_within_its_limits(
    matches: dict[str, int], running: dict[str, int], blocks: int, expected: Decision
) -> None:
    assert router.choose(matches, running, blocks) == expected


@pytest.mark.parametrize(
    ("running", "factor", "pod_key", "selection"),
    [
        ({"a": 1, "b": 0, "c": 0}, None, "a", MATCH),
        ({"a": 1, "b": 0, "c": 0}, 1, "b", SKIPPED),  # mean 0.33 and deviation 0.47
        ({"a": 1, "b": 0, "c": 0}, 2, "a", MATCH),
        ({"a": 4, "b": 4, "c": 4}, 1, "a", MATCH),  # no deviation: the mean itself may take more
        ({"a": 6, "b": 5, "c": 1}, 1, "a", MATCH),  # mean 4 and deviation 2.16: 6.16
        ({"a": 7, "b": 4, "c": 1}, 1, "c", SKIPPED),  # mean 4 and deviation 2.45: 6.45
    ],
)
def test_a_holder_above_the_mean_by_its_deviations_is_passed_over(
    running: dict[str, int], factor: int | None, pod_key: str, selection: Selection
) -> None:
    settings = router.RouterSettings(deviation_factor=factor)
    decision = router.choose({"a": 5}, running, 5, settings)
    assert (decision.pod_key, decision.selection, decision.imbalanced) == (pod_key, selection, False)


def test_equals_are_told_apart_by_the_tie_break_alone() -> None:
    running = {"c": 1, "a": 1, "b": 1, "d": 2}
    assert [router.choose({}, running, 1, tie_break=n).pod_key for n in range(4)] == ["a", "b", "c", "a"]


def test_no_pod_is_an_error() -> None:
    with pytest.raises(NoPodError):
        router.choose({"a": 1}, {}, 1)


RUNNING = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 20), min_size=1)


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9)), RUNNING, st.integers(0, 9), st.integers())
def test_no_choice_overloads_a_pod_or_invents_one(
    matches: dict[str, int], running: dict[str, int], blocks: int, tie_break: int
) -> None:
    decision = router.choose(matches, running, blocks, tie_break=tie_break)
    assert running[decision.pod_key] <= min(running.values()) + router.DEFAULTS.imbalance_limit
    assert decision.matched_blocks == matches.get(decision.pod_key, 0)


POD = PodFacts(
    "default/engine-0",
    "uid-1",
    "127.0.0.2",
    "Running",
    {fleet.LABEL_ENABLED: "true", fleet.LABEL_MODEL: "llama2-7b"},
)
SOURCE = Source("default/engine-0", "127.0.0.2", 5557, 5558, "uid-1", "llama2-7b")


def test_a_pod_that_passes_the_gate_is_wanted() -> None:
    assert fleet.wanted(POD) == (SOURCE,)
    by_annotation = replace(
        POD, labels={fleet.LABEL_ENABLED: "true"}, annotations={fleet.LABEL_MODEL: "llama2-7b"}
    )
    assert fleet.wanted(by_annotation) == (SOURCE,)


@pytest.mark.parametrize(("said", "lora_id"), [("7", 7), ("0", 0), ("-1", -1), ("", -1), ("seven", -1)])
def test_the_adapter_that_a_whole_pod_serves_is_its_label_s(said: str, lora_id: int) -> None:
    sources = fleet.wanted(replace(POD, labels={**POD.labels, fleet.LABEL_LORA: said}))
    assert sources == (replace(SOURCE, lora_id=lora_id),)


UNWANTED = {
    "label removed": replace(POD, labels={fleet.LABEL_MODEL: "llama2-7b"}),
    "label not true": replace(POD, labels={**POD.labels, fleet.LABEL_ENABLED: "false"}),
    "no model": replace(POD, labels={fleet.LABEL_ENABLED: "true"}),
    "no address": replace(POD, ip=None),
    "pending": replace(POD, phase="Pending"),
    "failed": replace(POD, phase="Failed"),
    "succeeded": replace(POD, phase="Succeeded"),
    "of a node that is silent": replace(POD, phase="Unknown"),
    "being deleted": replace(POD, deleting=True),
}
OTHER = {
    "another address": replace(POD, ip="127.0.0.9"),
    "another pod of that name": replace(POD, uid="uid-2"),
    "another model": replace(POD, labels={**POD.labels, fleet.LABEL_MODEL: "other"}),
    "another model by annotation": replace(
        POD, labels={fleet.LABEL_ENABLED: "true"}, annotations={fleet.LABEL_MODEL: "other"}
    ),
    "another adapter": replace(POD, labels={**POD.labels, fleet.LABEL_LORA: "7"}),
    "another container": replace(POD, restarts=1),
}


@pytest.mark.parametrize("name", UNWANTED)
@pytest.mark.scenario(
    "pod-lifecycle/no-kv-events-label",
    "pod-lifecycle/no-model",
    "pod-lifecycle/no-ip",
    "pod-lifecycle/not-running",
    "pod-lifecycle/pending",
    "pod-lifecycle/failed",
    "pod-lifecycle/succeeded",
    "pod-lifecycle/unknown",
    "pod-lifecycle/labels-change",
    "pod-lifecycle/phase-change",
    "pod-lifecycle/deleting-change",
)
def test_a_pod_that_fails_the_gate_is_not_wanted_and_is_purged(name: str) -> None:
    assert fleet.wanted(UNWANTED[name]) == ()
    assert fleet.changes({POD.pod_key: SOURCE}, [UNWANTED[name]]) == Changes((POD.pod_key,), ())


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.scenario(
    "pod-lifecycle/ip-change",
    "pod-lifecycle/uid-change",
    "pod-lifecycle/annotations-change",
    "pod-lifecycle/restarts-change",
)
def test_a_pod_that_became_another_source_is_purged_and_subscribed_anew(name: str) -> None:
    changed = fleet.changes({POD.pod_key: SOURCE}, [OTHER[name]])
    assert changed == Changes((POD.pod_key,), fleet.wanted(OTHER[name]) or (SOURCE,))


@pytest.mark.scenario("pod-lifecycle/add", "pod-lifecycle/unchanged", "pod-lifecycle/delete")
def test_pods_come_stay_and_go() -> None:
    assert fleet.changes({}, [POD]) == Changes((), (SOURCE,))
    assert fleet.changes({POD.pod_key: SOURCE}, [POD]) == Changes()
    assert fleet.changes({POD.pod_key: SOURCE}, []) == Changes((POD.pod_key,), ())


@pytest.mark.scenario("pod-lifecycle/several-at-once")
def test_all_changes_of_one_moment_are_one_answer() -> None:
    moved, stays, comes = (
        replace(POD, pod_key=key, ip=ip) for key, ip in (("n/1", "9"), ("n/2", "2"), ("n/3", "3"))
    )
    current = {key: replace(SOURCE, pod_key=key, host=key[-1]) for key in ("n/0", "n/1", "n/2")}
    changed = fleet.changes(current, [moved, stays, comes])
    assert changed.unsubscribe == ("n/0", "n/1")
    assert changed.subscribe == (*fleet.wanted(moved), *fleet.wanted(comes))


def test_without_kv_sync_a_pod_is_an_engine_that_nobody_subscribes_to() -> None:
    off = fleet.FleetSettings(kv_sync=False)
    assert fleet.wanted(POD, off) == ()
    assert fleet.engine(POD, off) == fleet.engine(UNWANTED["label removed"], off) == SOURCE
    assert fleet.changes({POD.pod_key: SOURCE}, [POD], off) == Changes((POD.pod_key,), ())


PODS = st.lists(
    st.builds(
        lambda name, ip, phase, on, restarts, ranks: PodFacts(
            name,
            "uid",
            ip,
            phase,
            {
                fleet.LABEL_MODEL: "m",
                fleet.LABEL_ENABLED: on,
                fleet.LABEL_RANKS: ranks,
                fleet.LABEL_REPLAY_PORT: "5567",
            },
            restarts=restarts,
        ),
        st.sampled_from("abc"),
        st.sampled_from([None, "1", "2"]),
        st.sampled_from(["Running", "Pending"]),
        st.sampled_from(["true", "false"]),
        st.integers(0, 1),
        st.sampled_from(["1", "2", "3", "many"]),
    ),
    max_size=4,
    unique_by=lambda pod: pod.pod_key,
)


@given(st.lists(PODS, max_size=6))
def test_after_any_history_exactly_the_wanted_pods_are_subscribed(history: list[list[PodFacts]]) -> None:
    """And nothing is ended that did not change, nor started while its predecessor runs."""
    current: dict[str, Source] = {}
    for pods in history:
        changed = fleet.changes(current, pods)
        for key in changed.unsubscribe:
            del current[key]
        for started in changed.subscribe:
            assert started.pod_key not in current
            current[started.pod_key] = started
        assert current == {source.pod_key: source for pod in pods for source in fleet.wanted(pod)}
        assert fleet.changes(current, pods) == Changes()


def entry(block_hash: int, key: int | None) -> IndexEntry:
    return IndexEntry(0, block_hash, 1, key)


def test_the_four_kinds_are_told_apart() -> None:
    held = {"p": {(0, 1): Held(2, 10), (0, 2): Held(1, 20), (0, 5): Held(1, 50)}, "q": {(0, 3): Held(1, 30)}}
    index = {
        "p": {(0, 1): entry(1, 10), (0, 2): entry(2, 21), (0, 3): entry(3, 30), (0, 4): entry(4, 40)},
        "q": {},
    }
    found = truth.compare(held, index)

    assert found.missing == (Finding(DivergenceKind.MISSING, "p", 0, 5),)
    assert found.phantom == (Finding(DivergenceKind.PHANTOM, "p", 0, 4),)
    assert found.misattributed == (Finding(DivergenceKind.MISATTRIBUTED, "p", 0, 3, "q"),)
    assert found.mis_hashed == (Finding(DivergenceKind.MIS_HASHED, "p", 0, 2),)
    assert [found.count(kind, "p") for kind in DivergenceKind] == [1, 1, 1, 1]
    assert found.count(DivergenceKind.MISSING, "q") == 0
    assert (len(found.findings()), found.audited, bool(found)) == (4, 6, True)


def test_an_orphan_is_missing_unless_truth_knows_no_better_and_an_equal_index_is_no_divergence() -> None:
    held, orphan = {"p": {(0, 1): Held(1, 10)}}, {"p": {(0, 1): entry(1, None)}}
    assert truth.compare(held, orphan).findings() == (Finding(DivergenceKind.MISSING, "p", 0, 1),)
    assert not truth.compare({"p": {(0, 1): Held(1, None)}}, orphan)
    assert not truth.compare(held, {"p": {(0, 1): entry(1, 10)}})


def test_pods_known_to_one_side_only_are_compared_as_well() -> None:
    one = {(0, 1): Held(1, 10)}
    assert truth.compare({"p": one}, {}).count(DivergenceKind.MISSING) == 1
    assert truth.compare({}, {"p": {(0, 1): entry(1, 10)}}).count(DivergenceKind.PHANTOM) == 1
    assert (
        truth.compare({"p": one, "q": one}, {"p": {(0, 1): entry(1, 10)}}).count(DivergenceKind.MISATTRIBUTED)
        == 0
    )


@given(st.lists(st.tuples(st.sampled_from("pq"), st.integers(1, 4)), unique=True), st.data())
def test_no_block_is_counted_in_two_kinds(pairs: list[tuple[str, int]], data: st.DataObject) -> None:
    held: dict[str, dict[truth.BlockKey, Held]] = {"p": {}, "q": {}}
    index: dict[str, dict[truth.BlockKey, IndexEntry]] = {"p": {}, "q": {}}
    for pod, block_hash in pairs:
        if data.draw(st.booleans()):
            held[pod][0, block_hash] = Held(1, 1)
        if data.draw(st.booleans()):
            index[pod][0, block_hash] = entry(block_hash, 1)
    found = truth.compare(held, index)
    wrong = sum(len(held[pod].keys() ^ index[pod].keys()) for pod in "pq")
    assert len(found.missing) + len(found.phantom) + 2 * len(found.misattributed) == wrong


def test_the_fold_counts_copies_and_never_goes_below_none() -> None:
    stored = BlockStored((1,), None, (7, 8), 2)
    batches = [Batch(0.0, (BlockRemoved((1,)), stored, stored)), Batch(1.0, (BlockRemoved((1,)),))]
    assert {key: one.copies for key, one in truth.fold(batches).items()} == {(0, 1): 1}
