"""A signal that comes while a client is asked: nothing is cut in the middle, and nothing of it is lost.

Raised between two steps of a connection pool, an exception leaves its lock taken for good: the next question,
or the way out of this one, waits for ever. So a signal is sent at every step there is, one after the other
(bench/signalled.py), in a process of its own, which may stand still without its test doing so.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resync.lab.api.process import start_api
from resync.run.errors import RunInterrupted
from resync.run.signals import STOPPING, Signals

pytestmark = [pytest.mark.integration]

SIGNALLED = Path(__file__).parent / "bench" / "signalled.py"
STEPS_MIN = 40
"""Fewer would mean that the client has changed, and that other files of it have to be looked at."""
QUESTIONS_LIMIT_S = 60.0
"""Two to six seconds on a calm machine."""


@pytest.mark.parametrize(("asked", "every"), [("prometheus", 1), ("kubernetes", 1), ("toolkit", 5)])
def test_a_signal_at_any_step_of_a_question_comes_through_and_the_next_is_answered(
    asked: str, every: int, served: Any, tmp_path: Path
) -> None:
    with served(tmp_path / "prometheus", ()) as url, start_api(tmp_path) as api:
        ran = subprocess.run(
            [sys.executable, SIGNALLED, asked, api.kubeconfig, url, str(every)],
            capture_output=True,
            text=True,
            timeout=QUESTIONS_LIMIT_S,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > STEPS_MIN


@pytest.fixture
def signals() -> Iterator[Signals]:
    """The handlers of a run, in force during the test."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    made = Signals(lambda *_: None)
    made.install()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def failed_under_a_signal(signals: Signals) -> None:
    with signals.shielded():
        signal.raise_signal(signal.SIGTERM)
        raise TimeoutError


def test_a_signal_in_a_question_that_fails_is_not_lost_with_it(signals: Signals) -> None:
    with pytest.raises(RunInterrupted):
        failed_under_a_signal(signals)


def test_a_question_in_another_thread_keeps_no_signal_waiting(signals: Signals) -> None:
    begun, over = threading.Event(), threading.Event()

    def asking() -> None:
        with signals.shielded():
            begun.set()
            over.wait(timeout=10)

    thread = threading.Thread(target=asking)
    thread.start()
    try:
        assert begun.wait(timeout=10)
        with pytest.raises(RunInterrupted):
            signal.raise_signal(signal.SIGTERM)
    finally:
        over.set()
        thread.join()
