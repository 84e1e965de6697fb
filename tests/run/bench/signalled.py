"""A process that asks one server through one client, again and again, with a SIGTERM at every step of that.

`signalled.py KIND WHERE EVERY`: KIND is `prometheus`, `kubernetes` or `toolkit`, WHERE its URL or kubeconfig.
Prints how many steps a question has. It fails where a signal was lost, and stands still where one was raised
between two steps of the client: whoever starts it limits its time.
"""

import itertools
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from resync.cluster.connecting import Cluster
from resync.cluster.pods import list_pods
from resync.cluster.toolkit import headcount
from resync.kits.shields import Shield
from resync.metrics.access import PrometheusAccess
from resync.metrics.prometheus import Prometheus
from resync.run.errors import RunInterrupted
from resync.run.signals import Signals

TALKING = frozenset({"queue.py", "threading.py", "connectionpool.py"})
"""Where a pool of connections is used: the file of urllib3, and those of Python below it."""

Question = Callable[[], object]


def prometheus(url: str, shield: Shield) -> Question:
    """Asks for a number."""
    return Prometheus(PrometheusAccess(url=url), shield=shield).ready


def kubernetes(kubeconfig: str, shield: Shield) -> Question:
    """Asks for pods."""
    return partial(list_pods, Cluster.connect(Path(kubeconfig), shield=shield), "default", "app=engine")


def toolkit(kubeconfig: str, shield: Shield) -> Question:
    """Lets chaostoolkit-kubernetes ask, with a client that is made and closed each time."""
    return partial(headcount, Cluster.connect(Path(kubeconfig), shield=shield), "default", "app=engine")


KINDS: Mapping[str, Callable[[str, Shield], Question]] = {
    "prometheus": prometheus,
    "kubernetes": kubernetes,
    "toolkit": toolkit,
}


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


def steps_survived(kind: str, where: str, every: int) -> int:
    """How many there are. Raises RuntimeError for a signal that was lost."""
    handlers = Renewed()
    question = KINDS[kind](where, handlers.shield)
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
    sys.stdout.write(f"{steps_survived(sys.argv[1], sys.argv[2], int(sys.argv[3]))}\n")
