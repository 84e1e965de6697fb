"""Every deliberate defect against the experiment that is predicted to find it: `make detection`.

A lab for each run, one at a time, the seeds outermost. What a run came to is kept in a directory; a call that
is given it goes on where the one before ended, and the page is written from what is there.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from benchmarks.detections import SEEDS, Run, Runs, came_to, first_shown_s, page, summary
from benchmarks.mutants import CONTROLS, MUTANTS, SHORT_OF_RING, Mutant, Predicted
from resync.lab.errors import LabStartError
from resync.lab.handle import LabHandle, running_lab
from resync.run import evidence

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
}
"""What differs from the experiment as it is, which would wait longer for what is broken."""

LOAD = {"network-partition-reset": ("--load-arg=--bypass-share", "--load-arg=0.5")}
"""An engine that is cut off has something to say only through those who go past the gateway."""

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
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESYNC_")}
    done = subprocess.run(
        [str(CHAOS), "--no-version-check", "run", str(ROOT / "experiments" / f"{predicted.experiment}.json")],
        cwd=home,
        env={
            **kept,
            **lab.env,
            **SETTINGS[predicted.experiment],
            **dict(predicted.settings),
            "RESYNC_RUNS_DIR": str(home / "runs"),
        },
        timeout=RUN_TIMEOUT_S,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"resync"')]
    if not lines:
        return _nothing(f"it said nothing and ended with code {done.returncode}")
    line = json.loads(lines[-1])["resync"]
    return Run(line, first_shown_s(predicted, line, evidence.read(Path(line["evidence"]))))


def _nothing(reason: str) -> Run:
    return Run({"verdict": "void", "reason": reason, "claims": []})


def kept_in(directory: Path) -> Runs:
    """What has been tried by now."""
    runs: dict[str, dict[int, Run]] = {}
    for file in sorted(directory.glob("*.json")):
        name, _, seed = file.stem.rpartition("-")
        runs.setdefault(name, {})[int(seed)] = msgspec.json.decode(file.read_bytes(), type=Run)
    return runs


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), help="Go on with these; default: a new directory."
)
@click.option("--limit-s", type=float, default=7200.0, show_default=True, help="No run is begun after that.")
@click.option("--only", multiple=True, metavar="MUTANT", help="Try these; may be repeated.")
def main(results: Path | None, limit_s: float, only: tuple[str, ...]) -> None:
    """Try what has not been tried, then write docs/detection.md."""
    results = results or Path(tempfile.mkdtemp(prefix="resync-detection-"))
    results.mkdir(parents=True, exist_ok=True)
    print(f"results: {results}", flush=True)
    until_s = time.monotonic() + limit_s
    for seed, mutant, predicted in planned():
        file = results / f"{mutant.name}-{seed}.json"
        if file.exists() or (only and mutant.name not in only):
            continue
        if time.monotonic() >= until_s:
            print("out of time: the rest is not run")
            break
        began_s = time.monotonic()
        home = results / "homes" / file.stem
        home.mkdir(parents=True, exist_ok=True)
        run = tried(seed, mutant, predicted, home)
        file.write_bytes(msgspec.json.encode(run))
        took_s = time.monotonic() - began_s
        print(f"{mutant.name}, seed {seed}, {took_s:.0f} s: {came_to(predicted, run.line)}", flush=True)
    runs = kept_in(results)
    given = {name: [f"{key}={value}" for key, value in one.items()] for name, one in SETTINGS.items()}
    PAGE.write_text(page(runs, {name: [*said, *LOAD.get(name, ())] for name, said in given.items()}))
    print(f"{summary(runs)}: {PAGE}")


if __name__ == "__main__":
    main()
