"""Ends what a pod leaves behind when the lab's supervisor dies.

A program of its own, run by path and without the package, so it stays small. The kernel kills every pod's
first process with the supervisor (PR_SET_PDEATHSIG), but not what that process has started. This one holds
the end of a pipe whose other end only the supervisor has: when it closes, however the supervisor ended,
every process that carries the lab's mark in its environment is killed, again and again until none is found.

    warden.py NAME=VALUE        the mark, as it stands in the environment of every process of the lab
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

ROUNDS_MAX = 50


def marked(mark: bytes) -> list[int]:
    """Process ids that carry the mark, this one excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def main() -> int:
    """Wait for the supervisor's end, then kill. Returns 0 when nothing is left."""
    mark = sys.argv[1].encode()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(ROUNDS_MAX):
        left = marked(mark)
        if not left:
            return 0
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return 1


if __name__ == "__main__":
    sys.exit(main())
