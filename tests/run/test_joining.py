"""Which lab a run joins: the one that runs where `resync lab up` would have written it."""

import json
import os
from pathlib import Path

import pytest

from resync.kits.processes import start_ticks
from resync.run.joining import running_lab

pytestmark = pytest.mark.unit


def leave_state(directory: Path, ticks: int) -> None:
    directory.mkdir(parents=True)
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
