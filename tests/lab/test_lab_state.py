"""The state directory tells a lab that runs from one that only left a file, and one start from another."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from resync.kits.directories import state_dir
from resync.kits.processes import Holder, start_ticks
from resync.lab import state
from resync.lab.errors import LabRunningError, NoLabError, StateError
from resync.lab.state import LabState


def lab_of(pid: int, ticks: int) -> LabState:
    return LabState(
        pid=pid,
        pid_start_ticks=ticks,
        kubeconfig="/k",
        prometheus_url="http://127.0.0.1:1",
        gateway_url="http://127.0.0.2:2",
        namespace="default",
        started_s=1.0,
        link_cidr="127.20.0.0/16",
    )


def ours() -> LabState:
    return lab_of(os.getpid(), start_ticks(os.getpid()))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    state.write(tmp_path, ours())
    assert state.read(tmp_path) == ours()


def test_lab_json_has_exactly_the_agreed_fields(tmp_path: Path) -> None:
    state.write(tmp_path, ours())
    assert set(msgspec.json.decode((tmp_path / "lab.json").read_bytes())) == {
        "pid", "pid_start_ticks", "kubeconfig", "prometheus_url", "gateway_url", "namespace", "started_s",
        "link_cidr",
    }  # fmt: skip


def test_no_file_is_no_lab(tmp_path: Path) -> None:
    with pytest.raises(NoLabError, match="start one with `resync lab up`"):
        state.read(tmp_path / "nothing")


def test_a_number_given_again_is_not_the_lab(tmp_path: Path) -> None:
    """The process runs, but it was started at another time than the lab's."""
    state.write(tmp_path, lab_of(os.getpid(), start_ticks(os.getpid()) - 1))
    with pytest.raises(NoLabError, match=f"left by process {os.getpid()}"):
        state.read(tmp_path)


def test_an_ended_process_is_not_the_lab_even_before_it_is_reaped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        left = lab_of(process.pid, start_ticks(process.pid))
        assert left.holder.is_alive()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not left.holder.is_alive()
    assert not left.holder.is_alive()


@pytest.mark.parametrize("text", ["{", "[]", '{"pid": "x"}'])
def test_a_file_that_is_not_ours_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    with pytest.raises(StateError, match=r"lab\.json is not what `resync lab` writes"):
        state.read(tmp_path)


def test_a_second_start_in_the_same_place_is_refused(tmp_path: Path) -> None:
    with (
        state.held(tmp_path),
        pytest.raises(LabRunningError, match=f"process {os.getpid()}"),
        state.held(tmp_path),
    ):
        pytest.fail("two labs hold one state directory")


def test_the_holder_is_known_from_the_first_moment_and_forgotten_at_the_end(tmp_path: Path) -> None:
    assert state.holder(tmp_path) is None
    with state.held(tmp_path):
        assert state.holder(tmp_path) == Holder(os.getpid(), start_ticks(os.getpid()))
        state.write(tmp_path, ours())
    assert state.holder(tmp_path) is None
    assert not (tmp_path / "lab.json").exists()


def test_a_state_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be used"), state.held(tmp_path / "file" / "below"):
        pytest.fail("a lab is held below a file")


def test_where_the_state_is_kept() -> None:
    assert state_dir({"RESYNC_STATE_DIR": "/a"}) == Path("/a")
    assert state_dir({"XDG_STATE_HOME": "/x"}) == Path("/x/resync")
    assert state_dir({}) == Path.home() / ".local" / "state" / "resync"
