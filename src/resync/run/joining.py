"""Join the lab that runs, or start one for this run and end it afterwards.

The lab is another program: it is started as `resync lab up --owner-pid`, joined through the file it writes
when it is ready, and never imported. It ends with its owner however the owner ends; `stop` only makes that
orderly. It gets a session of its own, so that a Ctrl-C in the terminal reaches the run, which heals, and not
the lab under it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from resync.kits.directories import state_dir
from resync.kits.processes import Holder
from resync.kits.reading import read_json
from resync.kits.waits import WaitTimeoutError, wait_until
from resync.run.errors import RefusedError

START_LIMIT_S = 60.0
STOP_LIMIT_S = 10.0


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    """What a running lab says about itself (docs/interfaces.md, section 6)."""

    pid: int
    pid_start_ticks: int
    kubeconfig: str
    prometheus_url: str
    gateway_url: str = ""
    namespace: str = "default"
    started_s: float = 0.0


def running_lab() -> LabState | None:
    """The lab that runs, None when there is none: no file, a torn one, or one whose process is gone."""
    try:
        state = read_json((state_dir() / "lab.json").read_bytes(), LabState)
    except (OSError, msgspec.DecodeError):
        return None
    return state if Holder(state.pid, state.pid_start_ticks).is_alive() else None


class Lab:
    """A lab joined by one run; `started_here` when the run has to end it."""

    def __init__(self, state: LabState, process: "subprocess.Popen[bytes] | None" = None) -> None:
        """Of a running lab, with its process when it is ours."""
        self.state = state
        self._process = process
        self._dismissed = False

    @property
    def started_here(self) -> bool:
        """Whether this run started it."""
        return self._process is not None

    def dismiss(self) -> None:
        """Tell the lab to end if this run started it, and do not wait for that. Idempotent."""
        if self._process is not None and not self._dismissed:
            # A second signal would not find a lab that listens.
            self._dismissed = True
            self._process.terminate()

    def stop(self) -> None:
        """End the lab if this run started it, and be there until it has. Idempotent."""
        self.dismiss()
        if self._process is not None:
            see_ended(self._process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a child to end, and make it when it does not."""
    process.terminate()
    see_ended(process)


def see_ended(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a child that was asked to end, and make it when it does not."""
    try:
        process.wait(timeout=STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=STOP_LIMIT_S)


def join_or_start(meanwhile: Callable[[], None] = lambda: None) -> Lab:
    """The running lab, also one that somebody is bringing up, or a new one that ends with this process.

    `meanwhile` is called while it comes up, and not when it runs. Raises RefusedError when there is none.
    """
    state = running_lab()
    if state is None and (holder := _holder()) is not None:
        meanwhile()
        state = _brought_up_by(holder)
    return Lab(state) if state is not None else _start(meanwhile)


def _holder() -> Holder | None:
    """Whoever runs, brings up or ends a lab here."""
    try:
        holder = read_json((state_dir() / "lab.lock").read_bytes(), Holder)
    except (OSError, msgspec.DecodeError):
        return None
    return holder if holder.is_alive() else None


def _brought_up_by(holder: Holder) -> LabState | None:
    """Their lab, once it is ready; None when they end without one."""
    try:
        wait_until(
            lambda: running_lab() is not None or not holder.is_alive(),
            what=f"the lab that process {holder.pid} brings up",
            timeout_s=START_LIMIT_S,
        )
    except WaitTimeoutError as error:
        raise RefusedError(
            f"process {holder.pid} holds the lab of {state_dir()}: not ready within {START_LIMIT_S:g} s",
            next_step="end it with `resync lab down`, then run again",
        ) from error
    return running_lab()


def _command() -> list[str]:
    beside = Path(sys.executable).with_name("resync")
    script = str(beside) if beside.exists() else shutil.which("resync")
    if script is None:
        raise RefusedError(
            "the `resync` command is not installed in this environment, so no lab can be started",
            next_step="install the project in this environment (pip install -e .)",
        )
    return [script, "lab", "up", "--owner-pid", str(os.getpid()), "--json"]


def _start(meanwhile: Callable[[], None]) -> Lab:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            _command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            meanwhile()
            return Lab(_ready(process, said), process)
        except BaseException:
            end(process)
            raise


def _ready(process: "subprocess.Popen[bytes]", said: IO[bytes]) -> LabState:
    def look() -> LabState | None:
        if process.poll() is not None:
            raise RefusedError(
                f"the lab ended while starting ({_code(process.returncode)}): {_last_line(said)}",
                next_step="run `resync lab up` to see why",
            )
        return running_lab()

    try:
        found = wait_until(look, what="the lab to be ready", timeout_s=START_LIMIT_S)
    except WaitTimeoutError as error:
        raise RefusedError(
            f"the lab was not ready within {START_LIMIT_S:g} s: {_last_line(said)}",
            next_step="run `resync lab up` to see why",
        ) from error
    if found is None:
        raise AssertionError("wait_until returned without a lab")
    return found


def _code(code: int) -> str:
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
