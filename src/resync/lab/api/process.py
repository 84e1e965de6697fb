"""The API server as a process of its own, for the supervisor and for every test against a real API."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from resync.kits.waits import wait_until

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0


class ApiStartError(Exception):
    """The server did not start; the message holds the last of what it said."""


@dataclass(frozen=True, slots=True)
class ApiProcess:
    """A running server. It ends with the process that started it, or by `stop`."""

    kubeconfig: Path
    server: str
    pid: int
    log: Path
    _process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it and wait; harmless when it has ended.

        Raises subprocess.TimeoutExpired if even SIGKILL does not help.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    def __enter__(self) -> Self:
        """The running server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


def start_api(state_dir: Path, *, namespace: str = "default", bare: bool = False) -> ApiProcess:
    """A server on a free loopback port, answering; kubeconfig, token and log are in `state_dir`.

    The mesh's kinds are served from the start; a `bare` server knows only the built-in ones.

    Raises ApiStartError.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    port_file = state_dir / "api.port"
    port_file.unlink(missing_ok=True)
    log, kubeconfig = state_dir / "api.log", state_dir / "kubeconfig"
    options = {
        "--port-file": port_file,
        "--token-file": state_dir / "api.token",
        "--kubeconfig": kubeconfig,
        "--namespace": namespace,
        "--owner-pid": os.getpid(),
    }
    flags = ["--bare"] if bare else []
    words = [str(word) for pair in options.items() for word in pair]
    with log.open("ab") as output:
        command = [sys.executable, "-m", "resync.lab.api", *words, *flags]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    _await_port(process, port_file, log)
    server = f"http://127.0.0.1:{port_file.read_text().strip()}"
    return ApiProcess(kubeconfig, server, process.pid, log, process)


def _await_port(process: "subprocess.Popen[bytes]", port_file: Path, log: Path) -> None:
    try:
        wait_until(
            lambda: port_file.exists() or process.poll() is not None,
            what="the lab's Kubernetes API to answer",
            timeout_s=START_TIMEOUT_S,
            every_s=0.02,
        )
    except TimeoutError as error:
        process.kill()
        process.wait(STOP_TIMEOUT_S)
        raise ApiStartError(f"{error}; its log is {log}") from error
    if not port_file.exists():
        said = log.read_text(errors="replace")[-500:]
        raise ApiStartError(f"the lab's Kubernetes API ended with {process.returncode}: {said}")
