"""Two ways to run a supervisor: in this process, or in one of its own that answers through a pipe.

The supervisor on its own is started in a new session, so no terminal's end reaches it. It writes one answer
to its standard output and then lets go of it; whoever asked for it reads that one line and may end.
"""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from resync.lab.errors import LabError, LabStartError
from resync.lab.orders import Answer, Failed, Order, Ready, decoded_answer, decoded_order, encoded
from resync.lab.state import LabState

# Fetching Prometheus, on the very first start, is the only part that may take longer than seconds.
ANSWER_TIMEOUT_S = 300


def run_here(order: Order, announce: Callable[[LabState], None]) -> None:
    """Run a lab in this process until it ends; `announce` is called once, when it is ready.

    Raises:
        LabError: it did not come up, or a part of it failed later.
    """
    # Imported here: the supervisor brings half the lab with it, and `resync lab status` needs none of it.
    from resync.lab.supervisor import supervise

    supervise(order, announce)


def start_detached(order: Order) -> LabState:
    """A lab that runs on its own, once it is ready. Raises LabError: then none runs."""
    order.path.mkdir(parents=True, exist_ok=True)
    log = order.path / "lab.log"
    with log.open("ab") as stderr:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "resync.lab", encoded(order).decode().strip()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            cwd="/",
        )
    try:
        return _state_or_error(_answer_of(supervisor, log))
    except BaseException:
        # Whoever asked gave up or was told no: nobody would know of a lab that came up all the same.
        supervisor.terminate()
        raise


def run_ordered(text: str) -> int:
    """Run the ordered lab, answering on standard output. Returns the exit code."""
    answered = False

    def answer(message: Answer) -> None:
        nonlocal answered
        answered = True
        sys.stdout.buffer.write(encoded(message))
        sys.stdout.flush()
        _let_go_of_stdout()

    try:
        run_here(decoded_order(text), lambda ready: answer(Ready(ready)))
    except LabError as error:
        if not answered:
            answer(Failed(str(error)))
        print(f"resync lab: {error}", file=sys.stderr)  # noqa: T201  # the log of a process without a terminal
        return 2
    return 0


def _let_go_of_stdout() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _answer_of(supervisor: subprocess.Popen[bytes], log: Path) -> Answer:
    assert supervisor.stdout is not None
    with supervisor.stdout as stream:
        line = line_within(stream.fileno(), ANSWER_TIMEOUT_S)
    if line:
        # From here on it is nobody's child: Popen must not warn that it still runs.
        supervisor.returncode = 0
        return decoded_answer(line)
    return Failed(f"the lab ended during its start or gave no answer within {ANSWER_TIMEOUT_S} s; see {log}")


def line_within(descriptor: int, timeout_s: float) -> bytes:
    """What arrives up to the first line's end; empty when the stream ends or the limit passes before that."""
    deadline_s = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
        chunk = os.read(descriptor, 65536) if ready else b""
        if not chunk:
            return b""
        line += chunk
    return line


def _state_or_error(answer: Answer) -> LabState:
    match answer:
        case Ready(state):
            return state
        case Failed(sentence):
            raise LabStartError(sentence)
