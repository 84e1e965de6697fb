"""Which lab a run joins: the one that runs where `resync lab up` would have written it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from resync.kits.processes import Holder, start_ticks
from resync.run import joining
from resync.run.errors import RefusedError
from resync.run.joining import join_or_start, running_lab

pytestmark = pytest.mark.integration


def leave_state(directory: Path, ticks: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "lab.json").write_text(
        json.dumps(
            {
                "pid": os.getpid(),
                "pid_start_ticks": ticks,
                "kubeconfig": "k",
                "prometheus_url": "http://127.0.0.1:1",
            }
        )
    )


@pytest.mark.parametrize(
    ("variable", "below"),
    [("RESYNC_STATE_DIR", "."), ("XDG_STATE_HOME", "resync"), ("HOME", ".local/state/resync")],
)
def test_it_is_looked_for_where_a_lab_writes_it(
    variable: str, below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RESYNC_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "here"))
    assert running_lab() is None
    leave_state(tmp_path / "here" / below, start_ticks(os.getpid()))
    found = running_lab()
    assert found is not None
    assert found.pid == os.getpid()


def test_a_number_that_another_process_got_is_no_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESYNC_STATE_DIR", str(tmp_path / "here"))
    leave_state(tmp_path / "here", start_ticks(os.getpid()) - 1)
    assert running_lab() is None


def leave_lock(directory: Path, pid: int) -> None:
    directory.mkdir(parents=True)
    (directory / "lab.lock").write_bytes(msgspec.json.encode(Holder(pid, start_ticks(pid))))


def test_a_lab_that_somebody_brings_up_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESYNC_STATE_DIR", str(tmp_path / "here"))
    leave_lock(tmp_path / "here", os.getpid())

    def ready() -> None:
        leave_state(tmp_path / "here", start_ticks(os.getpid()))

    lab = join_or_start(meanwhile=ready)
    assert lab.state.pid == os.getpid()
    assert not lab.started_here


def test_one_that_is_never_ready_is_refused_and_its_holder_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESYNC_STATE_DIR", str(tmp_path / "here"))
    monkeypatch.setattr(joining, "START_LIMIT_S", 0.2)
    leave_lock(tmp_path / "here", os.getpid())
    with pytest.raises(
        RefusedError, match=rf"process {os.getpid()} holds the lab of .* not ready within"
    ) as told:
        join_or_start()
    assert "resync lab down" in told.value.next_step


def test_where_they_end_without_one_a_new_one_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESYNC_STATE_DIR", str(tmp_path / "here"))
    monkeypatch.setattr(
        joining, "_command", lambda: [sys.executable, "-c", "raise SystemExit('no lab today')"]
    )
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        leave_lock(tmp_path / "here", other.pid)

        def ends() -> None:
            other.kill()
            other.wait()

        with pytest.raises(RefusedError, match=r"the lab ended while starting .* no lab today"):
            join_or_start(meanwhile=ends)
