"""Ending a lab from outside: asked first, then made to."""

import os
import signal
from pathlib import Path

from resync.kits.processes import Holder
from resync.kits.waits import WaitTimeoutError, wait_until
from resync.lab import state
from resync.lab.errors import LabError

ORDERLY_TIMEOUT_S = 6.0
KILLED_TIMEOUT_S = 2.0


def end(directory: Path) -> bool:
    """End the lab that runs or starts here, if any, and forget its state. Returns whether there was one.

    Raises:
        LabError: it does not end, or is not ours to end.
    """
    holder = state.holder(directory)
    if holder is not None:
        _end(holder)
    state.forget(directory)
    return holder is not None


def _end(holder: Holder) -> None:
    _signal(holder, signal.SIGTERM)
    try:
        _wait_gone(holder, ORDERLY_TIMEOUT_S)
    except WaitTimeoutError:
        # Its processes are tied to it by the kernel, so nothing of the lab survives this.
        _signal(holder, signal.SIGKILL)
        _wait_gone_or_fail(holder)


def _wait_gone(holder: Holder, timeout_s: float) -> None:
    wait_until(
        lambda: not holder.is_alive(),
        what=f"the lab's supervisor (process {holder.pid}) to end",
        timeout_s=timeout_s,
    )


def _wait_gone_or_fail(holder: Holder) -> None:
    try:
        _wait_gone(holder, KILLED_TIMEOUT_S)
    except WaitTimeoutError as error:
        raise LabError(str(error)) from error


def _signal(holder: Holder, number: signal.Signals) -> None:
    """A process file descriptor is asked for first, so a number given again in between cannot be hit."""
    try:
        descriptor = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return
    try:
        if holder.is_alive():
            signal.pidfd_send_signal(descriptor, number)
    except PermissionError as error:
        raise LabError(
            f"the lab's supervisor (process {holder.pid}) belongs to another user: {error}"
        ) from error
    finally:
        os.close(descriptor)
