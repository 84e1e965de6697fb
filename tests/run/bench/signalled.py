"""A process that asks the world of a run again and again, with a SIGTERM at every step of the client.

`signalled.py ASKED KUBECONFIG PROMETHEUS EVERY`: ASKED is one of QUESTIONS, the next two are where, and EVERY
1 takes all steps, 5 each fifth. Prints how many steps a question has. It fails where a signal was lost, and
stands still where one was raised between two steps of the client: whoever starts it limits its time.
"""

import itertools
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

from resync.run import settings
from resync.run.clusterworld import ClusterWorld
from resync.run.errors import RunInterrupted
from resync.run.signals import Signals

TALKING = frozenset({"queue.py", "threading.py", "connectionpool.py"})
"""Where a pool of connections is used: the file of urllib3, and those of Python below it."""

Question = Callable[[], object]


QUESTIONS: Mapping[str, Callable[[ClusterWorld], Question]] = {
    "prometheus": lambda world: lambda: world.series(("up",), (1.0, 2.0)),
    "kubernetes": lambda world: world.gateways,
    "toolkit": lambda world: world.engines,
}
"""By the client that is asked; the last makes one more each time, and closes it."""


class Renewed:
    """Handlers that have seen no signal yet, time and again, behind one shield."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """From here on the next signal is the first."""
        self._signals = Signals(lambda *_: None)
        self._signals.install()

    def shield(self) -> AbstractContextManager[None]:
        """The shield of the handlers that are in force."""
        return self._signals.shielded()


def signal_at(step: int, question: Question) -> bool:
    """Ask, with a SIGTERM at that step of the client; whether the question had so many."""
    steps = itertools.count()

    def looked(frame: FrameType, _event: str, _arg: Any) -> None:
        if Path(frame.f_code.co_filename).name in TALKING and next(steps) == step:
            signal.raise_signal(signal.SIGTERM)

    sys.setprofile(looked)
    try:
        question()
    finally:
        sys.setprofile(None)
    return next(steps) > step


def steps_survived(asked: str, kubeconfig: str, prometheus: str, every: int) -> int:
    """How many there are. Raises RuntimeError for a signal that was lost."""
    handlers = Renewed()
    said = {"kubeconfig": kubeconfig, "prometheus_url": prometheus}
    question = QUESTIONS[asked](ClusterWorld(settings.parse(said), handlers.shield))
    question()
    for step in itertools.count(0, every):
        handlers.renew()
        try:
            reached = signal_at(step, question)
        except RunInterrupted:
            question()
            continue
        if reached:
            raise RuntimeError(f"the signal at step {step} was lost")
        break
    return step


if __name__ == "__main__":
    question_asked, config, url, stride = sys.argv[1:]
    sys.stdout.write(f"{steps_survived(question_asked, config, url, int(stride))}\n")
