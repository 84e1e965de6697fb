"""Evidence is append-only, readable after a crash at any byte, and never silently mended."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.run import evidence
from resync.run.errors import EvidenceError
from resync.run.evidence import EvidenceFile
from resync.run.records import RECORD_KINDS, CheckPassed, RunEnded, kind_of


def record(number: int) -> CheckPassed:
    return CheckPassed(at=float(number), check="check", detail=f"number {number}")


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    with EvidenceFile(tmp_path / "a" / "evidence.jsonl") as file:
        for number in range(3):
            file.append(record(number))
        assert file.read() == [record(0), record(1), record(2)]


def test_a_second_run_never_continues_a_file(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    EvidenceFile(path).close()
    with pytest.raises(EvidenceError, match="cannot create"):
        EvidenceFile(path)


@given(cut=st.integers(min_value=0))
def test_a_file_cut_at_any_byte_gives_the_records_before_the_cut(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "evidence.jsonl"
    with EvidenceFile(path) as file:
        for number in range(5):
            file.append(record(number))
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % (len(whole) + 1)])
    read = evidence.read(path)
    assert read == [record(number) for number in range(len(read))]
    assert len(read) == path.read_bytes().count(b"\n")


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    with EvidenceFile(path) as file:
        file.append(record(0))
        file.append(record(1))
    path.write_bytes(path.read_bytes().replace(b"number 0", b'"number'))
    with pytest.raises(EvidenceError, match="line 1"):
        evidence.read(path)


def test_no_run_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no run in") as caught:
        evidence.latest_run(tmp_path)
    assert caught.value.next_step


def test_kinds_are_words_and_no_two_records_share_one() -> None:
    assert len(set(RECORD_KINDS)) == len(RECORD_KINDS)
    assert kind_of(RunEnded) == "run-ended"
    assert RECORD_KINDS[0] == "run-started"
