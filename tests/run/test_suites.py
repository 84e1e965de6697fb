"""Several experiments on one lab: the worst verdict decides, and nobody's silence is taken for a pass."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resync.run.suites import Came, worst
from resync.run.verdict import Verdict

RESYNC = Path(sys.executable).with_name("resync")


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "void"], "void"),
        (["void", "fail", "pass"], "fail"),
        ([], "void"),
    ],
)
def test_the_worst_verdict_is_that_of_all(verdicts: list[str], says: str) -> None:
    came = [Came(Path(str(i)), Verdict(verdict), "") for i, verdict in enumerate(verdicts)]
    assert worst(came) is Verdict(says)


@pytest.mark.integration
def test_a_suite_runs_each_and_ends_with_the_worst(bench: Any) -> None:
    healthy = bench.directory / "healthy.json"
    healthy.write_text(json.dumps(bench.experiment))
    del bench.experiment["controls"]
    unguarded = bench.directory / "unguarded.json"
    unguarded.write_text(json.dumps(bench.experiment))
    ran = suite(bench, healthy, unguarded)
    (line,) = [json.loads(text)["resync-suite"] for text in ran.stdout.splitlines() if text.startswith("{")]
    assert ran.returncode == 2, ran.stderr
    assert line["verdict"] == "void"
    assert [one["verdict"] for one in line["experiments"]] == ["pass", "void"]
    assert line["experiments"][1]["reason"] == "it said nothing and ended with code 2"
    assert "Traceback" not in ran.stderr


def suite(bench: Any, *files: Path) -> "subprocess.CompletedProcess[str]":
    """The command, where a lab already runs: this process stands for it, and the made world needs none."""
    lab = {"pid": os.getpid(), "kubeconfig": "none", "prometheus_url": "none"}
    (bench.directory / "lab.json").write_text(json.dumps(lab))
    return subprocess.run(
        [str(RESYNC), "suite", *map(str, files)],
        cwd=bench.directory,
        env={**bench.environ({}), "RESYNC_STATE_DIR": str(bench.directory)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
