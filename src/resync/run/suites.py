"""Several experiments one after the other on one lab, and the worst of their verdicts.

Each is a `chaos run` of its own: a process, an evidence file, a verdict. An experiment that says nothing (it
was killed, or its file could not be read) has proven nothing. The lab is joined where one runs, else started
for all of them and ended with this process. A signal ends the run under way, which heals; those after it are
not begun, and have proven nothing either.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

from resync.run.joining import Lab, join_or_start
from resync.run.settings import Target
from resync.run.verdict import Verdict
from resync.run.where import target_of

WORST: Sequence[Verdict] = (Verdict.FAIL, Verdict.VOID, Verdict.PASS)
"""As verdicts are merged everywhere: a breach is not hidden by a void, nor a void by a pass."""


@dataclass(frozen=True, slots=True)
class Came:
    """What one experiment came to, in its own words."""

    file: Path
    verdict: Verdict
    reason: str

    @property
    def remark(self) -> str:
        """Whether it ended as its file says that it has to; empty where the file says nothing about that."""
        ends = ends_as_said(self.file)
        if ends is None:
            return ""
        return "as it has to" if self.verdict is ends else f"it has to end {ends}"


def ends_as_said(file: Path) -> Verdict | None:
    """The verdict that the experiment says it has to end with (`extensions`, of the name resync).

    None: it says nothing, or cannot be read, which its run says better.
    """
    try:
        said = json.loads(file.read_text(encoding="utf-8"))["extensions"]
        return next((Verdict(one["ends"]) for one in said if one["name"] == "resync"), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def worst(came: Sequence[Came]) -> Verdict:
    """The verdict on all of them; none at all have proven nothing."""
    found = {one.verdict for one in came}
    return next((verdict for verdict in WORST if verdict in found), Verdict.VOID)


def run_all(files: Sequence[Path], told: Callable[[Came], None]) -> list[Came]:
    """Every experiment in turn, each told of when it is over. Raises RefusedError when there is no lab."""
    came: list[Came] = []
    with _lab(), _Stops() as stops:
        for file in files:
            one = Came(file, Verdict.VOID, "not begun") if stops.stopped else _run(file, stops)
            came.append(one)
            told(one)
    return came


@contextmanager
def _lab() -> Iterator[Lab | None]:
    lab = join_or_start() if target_of(os.environ) is Target.LAB else None
    try:
        yield lab
    finally:
        if lab is not None:
            lab.stop()


class _Stops:
    """While runs go on a signal is theirs: the one under way takes it, heals and ends."""

    def __init__(self) -> None:
        self.stopped = False
        self.process: subprocess.Popen[str] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        self.stopped = True
        # A terminal sends SIGINT to the run, too: its second one is counted there and does no harm.
        if self.process is not None:
            self.process.send_signal(number)


def _run(file: Path, stops: _Stops) -> Came:
    chaos = Path(sys.executable).with_name("chaos")
    stops.process = subprocess.Popen(
        [str(chaos), "--no-version-check", "run", str(file)], stdout=subprocess.PIPE, text=True
    )
    with stops.process as process:
        said, _ = process.communicate()
    stops.process = None
    return _judged(file, said, process.returncode)


def _judged(file: Path, said: str, code: int) -> Came:
    lines = [line for line in said.splitlines() if line.startswith('{"resync"')]
    if not lines:
        return Came(file, Verdict.VOID, f"it said nothing and ended with code {code}")
    line = json.loads(lines[-1])["resync"]
    verdict = Verdict(line["verdict"])
    if verdict.exit_code != code:
        return Came(file, Verdict.VOID, f"it said {verdict} and ended with code {code}")
    return Came(file, verdict, str(line["reason"]))
