"""When a lab has to end: its owner has ended, or somebody asked by signal."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from resync.lab.errors import LabStartError

_ASKED_BY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ending:
    """A one-way switch with a reason."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.reason = ""

    def ask(self, reason: str) -> None:
        """End now. Only the first reason is kept."""
        self.reason = self.reason or reason
        self._asked.set()

    async def wait(self) -> str:
        """The reason, once there is one."""
        await self._asked.wait()
        return self.reason


@contextmanager
def watched(owner_pid: int | None) -> Iterator[Ending]:
    """Asked to end by SIGTERM, SIGINT, SIGHUP, or by the end of the owner. In the running loop's main thread.

    Raises:
        LabStartError: the owner does not run (any more).
    """
    loop = asyncio.get_running_loop()
    ending = Ending()
    for number in _ASKED_BY:
        loop.add_signal_handler(number, ending.ask, f"signal {number.name}")
    try:
        with _owner_watched(owner_pid, ending):
            yield ending
    finally:
        for number in _ASKED_BY:
            loop.remove_signal_handler(number)


@contextmanager
def _owner_watched(owner_pid: int | None, ending: Ending) -> Iterator[None]:
    """A process file descriptor becomes readable the moment the process ends; no poll, no reused number."""
    if owner_pid is None:
        yield
        return
    try:
        descriptor = os.pidfd_open(owner_pid)
    except OSError as error:
        raise LabStartError(
            f"the lab's owner, process {owner_pid}, does not run ({error.strerror})"
        ) from error
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ending.ask, f"the end of its owner, process {owner_pid}")
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
