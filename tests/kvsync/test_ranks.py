"""Each data-parallel rank is a source of its own: ports and name, from the labels of its pod to its end."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from resync.kvsync import fleet, ranks
from resync.kvsync.fleet import Changes, PodFacts
from resync.kvsync.source import Source

pytestmark = pytest.mark.unit

SERVER = Source("default/engine-0", "10.0.0.1", 15557, 15567, "uid", "llama2-7b")


def test_a_server_without_ranks_is_one_source() -> None:
    assert ranks.of_ranks(SERVER, 1) == (SERVER,)


def test_every_rank_has_both_ports_moved_by_its_number_and_a_name_of_its_own() -> None:
    sources = ranks.of_ranks(SERVER, 3)
    assert [(one.pod_key, one.event_port, one.replay_port) for one in sources] == [
        ("default/engine-0", 15557, 15567),
        ("default/engine-0#dp1", 15558, 15568),
        ("default/engine-0#dp2", 15559, 15569),
    ]
    assert {(one.host, one.uid, one.model) for one in sources} == {("10.0.0.1", "uid", "llama2-7b")}
    assert [one.rank for one in sources] == [0, 1, 2]
    assert {one.pod_name for one in (SERVER, *sources)} == {"engine-0"}


@pytest.mark.parametrize(("event_port", "replay_port"), [(5557, 5558), (5558, 5557)])
def test_ports_that_the_ranks_would_share_are_refused(event_port: int, replay_port: int) -> None:
    server = Source("default/engine-0", "10.0.0.1", event_port, replay_port)
    assert ranks.of_ranks(server, 1) == (server,)
    with pytest.raises(ValueError, match=r"has 2 ranks.*Move the replay port"):
        ranks.of_ranks(server, 2)


@pytest.mark.parametrize(
    ("event_port", "replay_port", "size", "why"),
    [
        (5557, 65535, 2, "beyond 65535. Move the ports"),
        (65535, 5557, 2, "beyond 65535. Move the ports"),
        (5557, 20000, ranks.RANKS_MAX + 1, "more than 128. Count them"),
    ],
)
def test_what_no_server_has_is_refused(event_port: int, replay_port: int, size: int, why: str) -> None:
    server = Source("default/engine-0", "10.0.0.1", event_port, replay_port)
    with pytest.raises(ValueError, match=why):
        ranks.of_ranks(server, size)
    assert len(ranks.of_ranks(server, size - 1)) == size - 1


LABELS = {fleet.LABEL_ENABLED: "true", fleet.LABEL_MODEL: "llama2-7b"}
POD = PodFacts("default/engine-0", "uid", "10.0.0.1", "Running", LABELS)


def labelled(size: str | None, replay_port: str | None = "5567", pod: PodFacts = POD) -> PodFacts:
    said = {fleet.LABEL_RANKS: size, fleet.LABEL_REPLAY_PORT: replay_port}
    more = {label: value for label, value in said.items() if value is not None}
    return replace(pod, labels={**pod.labels, **more})


@pytest.mark.parametrize(
    ("size", "replay_port", "ports", "mistake"),
    [
        (None, None, [(5557, 5558)], ""),
        (None, "5600", [(5557, 5600)], ""),
        ("1", None, [(5557, 5558)], ""),
        ("2", "5567", [(5557, 5567), (5558, 5568)], ""),
        ("3", "5560", [(5557, 5560), (5558, 5561), (5559, 5562)], ""),
        ("2", None, [(5557, 5558)], "has 2 ranks, but its event port 5557 and its replay port 5558"),
        ("3", "5559", [(5557, 5559)], "ranks would share ports. Move the replay port"),
        ("0", "5567", [(5557, 5567)], "has '0' ranks. Count them"),
        ("-2", "5567", [(5557, 5567)], "has '-2' ranks. Count them"),
        ("two", "5567", [(5557, 5567)], "has 'two' ranks. Count them"),
        ("", "5567", [(5557, 5567)], "has '' ranks. Count them"),
        ("9" * 63, "5567", [(5557, 5567)], "more than 128. Count them"),
        ("1", "zmq", [(5557, 5558)], "has replay port 'zmq'. Look it up"),
        ("2", "70000", [(5557, 5558)], "has replay port '70000'. Look it up"),
        ("2", "0", [(5557, 5558)], "has replay port '0'. Look it up"),
    ],
)
def test_the_labels_of_a_pod_say_its_ranks_and_a_wrong_one_leaves_rank_0(
    size: str | None, replay_port: str | None, ports: list[tuple[int, int]], mistake: str
) -> None:
    pod = labelled(size, replay_port)
    sources = fleet.wanted(pod)
    assert [(one.event_port, one.replay_port) for one in sources] == ports
    assert [one.rank for one in sources] == ([None] if len(ports) == 1 else [*range(len(ports))])
    said = fleet.mistake(pod)
    assert mistake in said
    assert bool(mistake) == said.startswith("default/engine-0 ")
    assert fleet.mistake(replace(pod, phase="Pending")) == "", "nobody is to be followed there"


BOTH = fleet.wanted(labelled("2"))
KEYS = ("default/engine-0", "default/engine-0#dp1")
CHANGES: Mapping[str, PodFacts] = {
    "gone": replace(POD, deleting=True),
    "failed": replace(POD, phase="Failed"),
    "without an address": replace(POD, ip=None),
    "switched off": replace(POD, labels={fleet.LABEL_MODEL: "llama2-7b"}),
    "another address": replace(POD, ip="10.0.0.9"),
    "another pod of that name": replace(POD, uid="other"),
    "another container": replace(POD, restarts=1),
    "another model": replace(POD, labels={**LABELS, fleet.LABEL_MODEL: "other"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_happens_to_a_pod_happens_to_all_its_ranks(name: str) -> None:
    pod = labelled("2", pod=CHANGES[name])
    current = {source.pod_key: source for source in BOTH}
    assert fleet.changes(current, [labelled("2")]) == Changes()
    changed = fleet.changes(current, [pod])
    assert changed == Changes(KEYS, fleet.wanted(pod))
    assert len(changed.subscribe) in {0, 2}
    assert fleet.changes(current, []) == Changes(KEYS, ())
    assert fleet.changes({}, [labelled("2")]) == Changes((), BOTH)


def test_one_rank_more_leaves_the_others_as_they_are() -> None:
    current = {source.pod_key: source for source in BOTH}
    (third,) = fleet.changes(current, [labelled("3")]).subscribe
    assert fleet.changes(current, [labelled("3")]) == Changes((), (third,))
    assert (third.pod_key, third.rank) == ("default/engine-0#dp2", 2)


@pytest.mark.parametrize(("size", "said"), [(None, 1), ("1", 1), ("16", 16), ("0", 0), ("x", 0)])
def test_an_auditor_reads_the_number_alone(size: str | None, said: int) -> None:
    assert fleet.ranks_of(labelled(size).labels) == said
