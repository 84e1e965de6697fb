"""What the state directory says about a lab, and whether it is still true.

`lab.json` is written when the lab is ready and removed at its end; a lab that was killed leaves it behind, so
it also says which process that was (`kits.processes`). `lab.lock` is locked from the
first moment of a start to the end, and names its holder, so two starts cannot cross and `down` reaches a lab
that is not ready yet.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from resync.kits.processes import Holder, start_ticks
from resync.lab.errors import LabRunningError, NoLabError, StateError

Record = TypeVar("Record")


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    """`lab.json`: where a ready lab is reached. Times in epoch seconds."""

    pid: int
    pid_start_ticks: int
    kubeconfig: str
    prometheus_url: str
    gateway_url: str
    namespace: str
    started_s: float
    link_cidr: str

    @property
    def holder(self) -> Holder:
        """The lab's supervisor."""
        return Holder(self.pid, self.pid_start_ticks)


def read(directory: Path) -> LabState:
    """The lab that is ready here. Raises StateError, NoLabError: a file left by a dead lab is no lab."""
    found = _stored(directory / "lab.json", LabState)
    if found is None:
        raise NoLabError(f"no lab runs here ({directory}): start one with `resync lab up`")
    if not found.holder.is_alive():
        raise NoLabError(
            f"no lab runs here: {directory / 'lab.json'} was left by process {found.pid}, which has ended"
        )
    return found


def write(directory: Path, state: LabState) -> None:
    """Publish `state`: readers see all of it or nothing."""
    scratch = directory / f".lab.json.{state.pid}"
    scratch.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
    scratch.replace(directory / "lab.json")


def forget(directory: Path) -> None:
    """Remove `lab.json`, if there is one."""
    (directory / "lab.json").unlink(missing_ok=True)


def holder(directory: Path) -> Holder | None:
    """Whoever runs or starts a lab here now."""
    found = _stored(directory / "lab.lock", Holder)
    return found if found is not None and found.is_alive() else None


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """This process is the one that runs a lab here. Raises LabRunningError, StateError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lab.lock").open("a+b")
    except OSError as error:
        raise StateError(f"the state directory {directory} cannot be used: {error}") from error
    with lock:
        _lock_or_refuse(lock.fileno(), directory)
        lock.truncate(0)
        lock.write(msgspec.json.encode(Holder(os.getpid(), start_ticks(os.getpid()))))
        lock.flush()
        try:
            yield
        finally:
            forget(directory)
            lock.truncate(0)


def _lock_or_refuse(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = holder(directory)
        raise LabRunningError(
            f"a lab already runs here (process {owner.pid if owner else 'unknown'}, state in {directory}): "
            "use it, end it with `resync lab down`, or set RESYNC_STATE_DIR to start another"
        ) from error


def _stored(path: Path, kind: type[Record]) -> Record | None:
    """What the file holds; None when there is no file or it is empty."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    try:
        return msgspec.json.decode(text, type=kind) if text else None
    except msgspec.MsgspecError as error:
        raise StateError(f"{path} is not what `resync lab` writes ({error}): remove it") from error
