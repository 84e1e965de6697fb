"""Signals that stop a run, and the stretches of it they must not cut.

Chaos Toolkit's own SIGTERM handler raises InterruptExecution, an Exception: raised inside a Python activity
it is taken for a failure of that activity, and the method goes on injecting (lib 1.44). Ours raises
RunInterrupted, a KeyboardInterrupt: it passes every `except Exception`, and Chaos Toolkit answers it with
rollbacks.

One signal unwinds the run. What comes after the first is counted and goes no further: the run is already on
its way out, and a second Ctrl-C must not stop it from healing. Inside `shielded()` even the first is only
noted, and raised at the end: healing is such a stretch, and so is each question to a client
(`resync.kits.shields`).
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from resync.run.errors import RunInterrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""SIGUSR1 and SIGUSR2 are Chaos Toolkit's own; the second would leave the fault in place."""

RESTORED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Chaos Toolkit gives these back to whoever had them before it: nobody, so they would kill the process."""

Noted = Callable[[str, int], None]


class Signals:
    """The handlers of one run."""

    def __init__(self, noted: Noted) -> None:
        """`noted` is told the name and the running number of every signal; it must not raise."""
        self._noted = noted
        self._shields = 0
        self._pending = False
        self.count = 0

    def install(self) -> None:
        """Take the handlers.

        Outside the main thread nothing can be taken, and Chaos Toolkit refuses to run there.
        """
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                signal.signal(number, self._arrived)

    def hold(self) -> None:
        """Keep what Chaos Toolkit is about to give back waiting: between its end and ours nobody takes it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, RESTORED)

    def take_held(self) -> None:
        """Note what waited, and what comes until `ignore`; none of it stops anything any more."""
        self._shields += 1
        self.install()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, RESTORED)

    def ignore(self) -> None:
        """From here on nothing counts any more: what is judged next is all there is."""
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self._noted(signal.Signals(number).name, self.count)
        if self.count > 1:
            return
        if self._shields:
            self._pending = True
            return
        raise RunInterrupted(f"{signal.Signals(number).name} received")

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """A stretch that runs to its end whatever arrives; a first signal is raised right after it.

        Also where the stretch fails: what then goes on, as if nothing had been seen yet, would never stop.
        In any other thread nothing is to be shielded: handlers run in the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
            self._raise_held()

    def _raise_held(self) -> None:
        if self._pending and not self._shields:
            self._pending = False
            raise RunInterrupted("a signal arrived while something was done that it must not cut")
