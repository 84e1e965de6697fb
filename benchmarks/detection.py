"""Every deliberate defect against the experiment that is predicted to find it: `make detection`.

A lab for each run, one at a time, the seeds outermost. What a run came to is kept in a directory; a call that
is given it goes on where the one before ended, and the page is written from what is there.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from benchmarks.detections import (
    CATALOGUE,
    SEEDS,
    Run,
    Runs,
    alarm,
    came_to,
    first_shown_s,
    in_a_row,
    page,
    summary,
)
from benchmarks.mutants import CONTROLS, MUTANTS, SHORT_OF_RING, Mutant, Predicted
from resync.lab.errors import LabStartError
from resync.lab.handle import LabHandle, running_lab
from resync.run import evidence
from resync.run.suites import ends_as_said
from resync.run.verdict import Verdict

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "detection.md"
CHAOS = Path(sys.executable).with_name("chaos")
SETTINGS = {
    "network-delay": {
        "RESYNC_BASELINE": "2s",
        "RESYNC_FAULT_DURATION": "6s",
        "RESYNC_CONVERGENCE_LIMIT": "3s",
    },
    "network-partition-reset": {
        "RESYNC_BASELINE": "2s",
        "RESYNC_FAULT_DURATION": "6s",
        "RESYNC_CONVERGENCE_LIMIT": "3s",
    },
    "pod-failure": {"RESYNC_BASELINE": "2s", "RESYNC_FAULT_DURATION": "6s"},
    "high-load": {
        "RESYNC_BASELINE": "2s",
        "RESYNC_FAULT_DURATION": "8s",
        "RESYNC_CONVERGENCE_LIMIT": "3s",
    },
    "engine-pod-kill": {
        "RESYNC_BASELINE": "2s",
        "RESYNC_FAULT_DURATION": "6s",
        "RESYNC_CONVERGENCE_LIMIT": "3s",
    },
}
"""What differs from the experiment as it is, which would wait longer for what is broken."""

LOAD = {"network-partition-reset": ("--load-arg=--bypass-share", "--load-arg=0.5")}
"""An engine that is cut off has something to say only through those who go past the gateway."""

SHORT = {"RESYNC_BASELINE": "2s", "RESYNC_FAULT_DURATION": "6s"}
"""For the experiments that no mutant is tried with."""

EXPERIMENTS = sorted((ROOT / "experiments").glob("*.json"))
CATALOGUE_LAB = LOAD["network-partition-reset"]
RUN_TIMEOUT_S = 120


def planned() -> Iterator[tuple[int, Mutant, Predicted]]:
    """Every run that makes sense."""
    for seed in SEEDS:
        for mutant in (*MUTANTS, *CONTROLS, SHORT_OF_RING):
            if mutant.predicted is not None:
                yield seed, mutant, mutant.predicted


def options(seed: int, mutant: Mutant, predicted: Predicted) -> list[str]:
    """How the lab is started."""
    flawed = ["--gateway-arg=--flaw", f"--gateway-arg={mutant.name}"] if mutant in MUTANTS else []
    return ["--seed", str(seed), *LOAD.get(predicted.experiment, ()), *predicted.lab, *flawed]


def tried(seed: int, mutant: Mutant, predicted: Predicted, home: Path) -> Run:
    """One lab, one run. A lab that does not start, or a run without an end, has proved nothing."""
    try:
        with running_lab(home / "state", *options(seed, mutant, predicted)) as lab:
            return _run(lab, predicted, home)
    except (LabStartError, subprocess.TimeoutExpired) as error:
        return _nothing(str(error))


def _run(lab: LabHandle, predicted: Predicted, home: Path) -> Run:
    settings = {**SETTINGS[predicted.experiment], **dict(predicted.settings)}
    line = line_of(lab, ROOT / "experiments" / f"{predicted.experiment}.json", settings, home)
    kept = line.get("evidence")
    return Run(line, first_shown_s(predicted, line, evidence.read(Path(kept))) if kept else None)


def line_of(lab: LabHandle, experiment: Path, settings: Mapping[str, str], home: Path) -> dict[str, Any]:
    """The verdict line of one run. Raises TimeoutExpired for one without an end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESYNC_")}
    done = subprocess.run(
        [str(CHAOS), "--no-version-check", "run", str(experiment)],
        cwd=home,
        env={**kept, **lab.env, **settings, "RESYNC_RUNS_DIR": str(home / "runs")},
        timeout=RUN_TIMEOUT_S,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"resync"')]
    if not lines:
        return _nothing(f"it said nothing and ended with code {done.returncode}").line
    line: dict[str, Any] = json.loads(lines[-1])["resync"]
    return line


def home_of(file: Path) -> Path:
    """Where a run works whose result goes into that file."""
    home = file.parent / "homes" / file.stem
    home.mkdir(parents=True, exist_ok=True)
    return home


def _nothing(reason: str) -> Run:
    return Run({"verdict": "void", "reason": reason, "claims": []})


def kept_in(directory: Path) -> Runs:
    """What has been tried by now."""
    runs: dict[str, dict[int, Run]] = {}
    for file in sorted(directory.glob("*.json")):
        name, _, seed = file.stem.rpartition("-")
        runs.setdefault(name, {})[int(seed)] = msgspec.json.decode(file.read_bytes(), type=Run)
    return runs


def tell(file: Path, run: Run, came: str, began_s: float) -> None:
    """Keep a run, and say what it came to."""
    file.write_bytes(msgspec.json.encode(run))
    print(f"{file.stem}, {time.monotonic() - began_s:.0f} s: {came}", flush=True)


def try_mutants(results: Path, only: Sequence[str], until_s: float) -> None:
    """A lab for each run that has not been made."""
    for seed, mutant, predicted in planned():
        file = results / f"{mutant.name}-{seed}.json"
        if file.exists() or (only and mutant.name not in only):
            continue
        if time.monotonic() >= until_s:
            print("out of time: the rest is not run")
            break
        began_s = time.monotonic()
        run = tried(seed, mutant, predicted, home_of(file))
        tell(file, run, came_to(predicted, run.line), began_s)


def try_catalogue(results: Path, runs: int, until_s: float) -> None:
    """One experiment of the catalogue after the other on one healthy lab, until there are that many runs."""
    left = [n for n in range(1, runs + 1) if not (results / f"{CATALOGUE}-{n}.json").exists()]
    if not left:
        return
    with running_lab(results / "homes" / "catalogue", *CATALOGUE_LAB) as lab:
        for number, experiment in zip(left, itertools.cycle(EXPERIMENTS), strict=False):
            if time.monotonic() >= until_s:
                print("out of time: the rest is not run")
                break
            began_s = time.monotonic()
            file = results / f"{CATALOGUE}-{number}.json"
            run = _of_catalogue(lab, experiment, home_of(file))
            tell(file, run, alarm(run) or f"{experiment.stem}: {run.line['verdict']}", began_s)


def _of_catalogue(lab: LabHandle, experiment: Path, home: Path) -> Run:
    try:
        line = line_of(lab, experiment, SETTINGS.get(experiment.stem, SHORT), home)
    except subprocess.TimeoutExpired as error:
        line = _nothing(str(error)).line
    return Run({**line, "experiment": experiment.stem, "ends": ends_as_said(experiment) or Verdict.PASS})


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), help="Go on with these; default: a new directory."
)
@click.option("--limit-s", type=float, default=7200.0, show_default=True, help="No run is begun after that.")
@click.option("--only", multiple=True, metavar="MUTANT", help="Try these; may be repeated.")
@click.option(
    "--healthy", type=click.IntRange(min=1), metavar="N", help="Run the catalogue instead: N healthy runs."
)
def main(results: Path | None, limit_s: float, only: tuple[str, ...], healthy: int | None) -> None:
    """Try what has not been tried, then write docs/detection.md from all that is kept."""
    results = results or Path(tempfile.mkdtemp(prefix="resync-detection-"))
    results.mkdir(parents=True, exist_ok=True)
    print(f"results: {results}", flush=True)
    until_s = time.monotonic() + limit_s
    if healthy is None:
        try_mutants(results, only, until_s)
    else:
        try_catalogue(results, healthy, until_s)
    runs = kept_in(results)
    given = {name: [f"{key}={value}" for key, value in one.items()] for name, one in SETTINGS.items()}
    PAGE.write_text(page(runs, {name: [*said, *LOAD.get(name, ())] for name, said in given.items()}))
    print(f"{summary(runs)}; {in_a_row(runs)}: {PAGE}")


if __name__ == "__main__":
    main()
