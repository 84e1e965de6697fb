"""Processes that do not outlive who started them, however that one ends."""

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def tied_to_this_process() -> Callable[[], None]:
    """A `preexec_fn` after which the kernel kills the child when the thread that started it ends.

    That is prctl(2) PR_SET_PDEATHSIG, and it means the thread, not the process. So start such a child from a
    thread that lives as long as the process: the main one. A parent that ended between the fork and the
    request is noticed by the changed parent id.
    """
    parent_pid = os.getpid()

    def tie() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:
            os._exit(1)

    return tie
