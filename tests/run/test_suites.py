"""Several experiments on one lab: the worst verdict decides, and nobody's silence is taken for a pass."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resync.run.suites import Came, ends_as_said, worst
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


LOSS = Path(__file__).parents[2] / "experiments" / "prometheus-loss.json"


def test_what_has_to_end_void_is_said_to_have_to_and_is_void_all_the_same() -> None:
    came = Came(LOSS, Verdict.VOID, "nothing could be measured")
    assert (came.remark, worst([came])) == ("as it has to", Verdict.VOID)
    assert Came(LOSS, Verdict.PASS, "").remark == "it has to end void"


@pytest.mark.parametrize("text", [None, "no JSON", "[]", "{}", '{"extensions": [{"name": "another"}]}'])
def test_a_file_that_says_nothing_of_its_end_is_without_remark(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "experiment.json"
    if text is not None:
        file.write_text(text)
    assert ends_as_said(file) is None
    assert not Came(file, Verdict.PASS, "").remark


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


@pytest.mark.integration
@pytest.mark.parametrize("text", [None, "no JSON"])
def test_a_file_that_cannot_be_read_has_proven_nothing(bench: Any, text: str | None) -> None:
    """Chaos Toolkit ends with 1 before our control is loaded, without a verdict; the suite makes that 2."""
    file = bench.directory / "broken.json"
    if text is not None:
        file.write_text(text)
    alone = subprocess.run(
        [str(RESYNC.with_name("chaos")), "--no-version-check", "run", str(file)],
        cwd=bench.directory,
        env=bench.environ({}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert alone.returncode == 1
    assert "resync" not in alone.stdout
    ran = suite(bench, file)
    assert ran.returncode == 2, ran.stderr
    if text is not None:
        assert json.loads(ran.stdout)["resync-suite"]["experiments"] == [
            {"file": str(file), "verdict": "void", "reason": "it said nothing and ended with code 1"}
        ]


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
