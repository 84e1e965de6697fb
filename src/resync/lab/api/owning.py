"""Ending with the owner: a process that nobody would stop must stop itself."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def watched(owner_pid: int | None, ending: asyncio.Event) -> Iterator[None]:
    """Set `ending` when the owner ends, however it ends. Raises ProcessLookupError when it does not run.

    A process descriptor becomes readable at the end of the process (pidfd_open(2)): no poll, no reused
    number, and, unlike a parent-death signal, not tied to the thread that started us.
    """
    if owner_pid is None:
        yield
        return
    descriptor = os.pidfd_open(owner_pid)
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ending.set)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
