"""Processes that do not outlive who started them, however that one ends."""

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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


def launch(command: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """A child tied to this process. All it says goes to `log`, a file: nobody need read it for it to go on.

    Raises OSError when it cannot be started.
    """
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=tied_to_this_process(),  # noqa: PLW1509  # it only calls prctl and getppid
        )


def launch_apart(
    command: Sequence[str], log: Path, *, env: Mapping[str, str], cwd: str = "/"
) -> subprocess.Popen[bytes]:
    """A child tied to this process that leads a session of its own; what it says is added to `log`.

    Raises OSError when it cannot be started.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=tied_to_this_process(),  # noqa: PLW1509  # it only calls prctl and getppid
        )


def end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """End a child: asked first, killed when it has not ended within the limit."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout_s)


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Waits for the child's end, without polling. Returns its exit code, negative for a signal."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


def last_line(log: Path) -> str:
    """The last thing a process said into its log."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
