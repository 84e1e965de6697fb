"""What is read from a status, on objects that the real Chaos Mesh controller wrote."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resync.cluster.statuses import FaultWire, failures

SHARED = Path(__file__).parents[2].parent / "shared"
RECORDED = SHARED / "recordings" / "chaos-mesh" / "transitions-networkchaos.jsonl"


def as_sent(line: dict[str, Any]) -> FaultWire:
    """A recorded transition as the API sends the object."""
    conditions = [{"type": key, "status": value} for key, value in line["conditions"].items()]
    body: dict[str, Any] = {
        "kind": "NetworkChaos",
        "metadata": {
            "name": line["name"],
            "finalizers": line["finalizers"],
            "creationTimestamp": "2026-11-23T00:43:42Z",
            "deletionTimestamp": line["deletionTimestamp"],
        },
        "spec": {"duration": "6s"},
    }
    if line["experiment"]:
        body["status"] = {"conditions": conditions, "experiment": line["experiment"]}
    return msgspec.json.decode(msgspec.json.encode(body), type=FaultWire)


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, Any]]:
    if not RECORDED.is_file():
        pytest.skip(f"the recordings are not here: {RECORDED} is absent")
    lines = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    return [line for line in lines if "conditions" in line]


def test_injected_is_never_said_of_what_was_not(recorded: list[dict[str, Any]]) -> None:
    injected = [line for line in recorded if as_sent(line).injected]
    assert len(injected) > 10
    for line in injected:
        records = line["experiment"]["containerRecords"]
        assert line["conditions"]["AllInjected"] == "True"
        assert all(record["injectedCount"] >= 1 for record in records)


def test_nothing_selected_is_not_injected(recorded: list[dict[str, Any]]) -> None:
    empty = [line for line in recorded if not (line["experiment"] or {}).get("containerRecords")]
    assert empty
    assert not any(as_sent(line).injected for line in empty)


def test_a_failed_attempt_is_quoted(recorded: list[dict[str, Any]]) -> None:
    said = {words for line in recorded for words in failures(as_sent(line).records)}
    for words in said:
        assert " failed: " in words
    wanted = any(
        event["type"] == "Failed"
        for line in recorded
        for record in (line["experiment"] or {}).get("containerRecords") or ()
        for event in record.get("events") or ()
    )
    assert bool(said) is wanted


def test_both_sides_are_told_apart(recorded: list[dict[str, Any]]) -> None:
    sides = {record.is_target for line in recorded for record in as_sent(line).records}
    assert sides == {True, False}


def test_a_duration_that_the_mesh_cannot_read_never_ends() -> None:
    def with_duration(text: str | None) -> FaultWire:
        body = {"metadata": {"creationTimestamp": "2026-11-23T00:43:42Z"}, "spec": {"duration": text}}
        return msgspec.convert(body, FaultWire)

    assert with_duration("1m").duration_s == 60
    assert with_duration("soon").duration_s is None
    assert with_duration("").duration_s is None
    assert with_duration(None).duration_s is None
    assert with_duration("1m").created_s == 1795394622.0


def status(*, said: str, counts: list[int] | None) -> FaultWire:
    records = (
        None
        if counts is None
        else [
            {"id": f"ns/p{i}", "phase": "Injected", "injectedCount": count} for i, count in enumerate(counts)
        ]
    )
    body = {
        "metadata": {"name": "x"},
        "status": {
            "conditions": [{"type": "AllInjected", "status": said}, {"type": "Selected", "status": "True"}],
            "experiment": {"desiredPhase": "Run", "containerRecords": records},
        },
    }
    return msgspec.convert(body, FaultWire)


@pytest.mark.parametrize(
    ("said", "counts", "injected"),
    [
        ("True", [1, 1], True),
        ("True", [1, 2], True),
        ("False", [1, 1], False),
        ("True", [1, 0], False),
        ("True", [], False),
        ("True", None, False),
    ],
)
def test_injected_needs_the_word_and_every_target(
    said: str, counts: list[int] | None, *, injected: bool
) -> None:
    assert status(said=said, counts=counts).injected is injected
