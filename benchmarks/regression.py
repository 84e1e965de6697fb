"""Has the code become slower? Ratios to a calibration loop, measured in turns with it, against recorded ones.

`make bench-gate` fails when a ratio is more than `GROWTH_MAX` times the recorded one; `python -m
benchmarks.regression --record` writes those of this interpreter anew. Of each step the smallest time counts:
whatever else the machine does adds to a time and never takes from it, and over many turns a short step gets
through undisturbed at least once. So a busy machine does not fail it, and a slowdown of 30 % does.
"""

import json
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.workloads import DOCUMENTS, Step, Work, calibration

RECORDED: Final = Path(__file__).with_name("ratios.json")
GROWTH_MAX: Final = 1.2
"""Between what a busy machine makes of the same code (1.02 measured) and the 1.3 that must be found."""

TURNS: Final = 100


def measure(works: Mapping[str, Work], turns: int = TURNS) -> dict[str, float]:
    """By name, the smallest times of the work's steps over those of the calibration loop."""
    best: dict[str, list[float]] = {}
    for _ in range(turns):
        for name, work in ("", calibration), *works.items():
            took_s = [_took_s(step) for step in work()]
            best[name] = list(map(min, best.get(name, took_s), took_s))
    return {name: sum(best[name]) / sum(best[""]) for name in works}


def _took_s(step: Step) -> float:
    began_s = time.perf_counter()
    step()
    return time.perf_counter() - began_s


def slower(measured: Mapping[str, float], recorded: Mapping[str, float]) -> list[str]:
    """A sentence for each ratio that has grown too much."""
    grown = {name: ratio / recorded[name] for name, ratio in measured.items()}
    return [
        f"{name} takes {growth:.2f} times as long as recorded, for {GROWTH_MAX:g} are allowed"
        for name, growth in grown.items()
        if growth > GROWTH_MAX
    ]


def interpreter() -> str:
    """What the ratios depend on beside our code."""
    return f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}"


def main(*, record: bool) -> int:
    """Print every ratio; 1 when one has grown too much, 2 when none is recorded for this interpreter."""
    measured = measure({name: make() for name, make in DOCUMENTS.items()})
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    if record:
        recorded[interpreter()] = {name: round(ratio, 3) for name, ratio in measured.items()}
        RECORDED.write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")
    if interpreter() not in recorded:
        print(f"no ratios of {interpreter()} in {RECORDED.name}: record them on a revision known as good")
        return 2
    for name, ratio in measured.items():
        print(f"{name}: {ratio:.3f} of the calibration loop (recorded {recorded[interpreter()][name]:.3f})")
    found = slower(measured, recorded[interpreter()])
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(record="--record" in sys.argv))
