"""One Prometheus server on a free loopback port, with every target known before it starts.

The server looks at its target lists on a fixed five-second ticker, so a target declared later costs up to
five seconds and the first sample takes five to six in any case. The lab therefore gives its pods fixed
addresses and starts the server first. Port 0 is asked for and the log says which one it became: no race for a
port. The log goes to a file, which needs no reader to stay unblocked and is there when a start fails.
"""

import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import yaml

from resync.kits.waits import WaitTimeoutError, wait_until
from resync.lab import children
from resync.lab.prometheus.errors import PrometheusStartError

SCRAPE_INTERVAL_S = 0.25
READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 2.0
HELP_TIMEOUT_S = 20.0

_LISTENING = re.compile(r'msg="?Listening on"? .*?address=(\S+)')
# A direct connection whatever http_proxy says: the server is on loopback.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Target:
    """One place to scrape: `job` is the role, `address` host:port, `pod` becomes a label of every series."""

    job: str
    address: str
    pod: str


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A server that was started; `url` is complete once `wait_ready` returned it."""

    process: subprocess.Popen[bytes]
    directory: Path
    url: str = ""

    @property
    def log(self) -> Path:
        """Where everything it says goes."""
        return self.directory / "prometheus.log"

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End it: asked first, killed when it has not ended within the limit."""
        children.end(self.process, timeout_s)


def config_text(targets: Sequence[Target], interval_s: float = SCRAPE_INTERVAL_S) -> str:
    """The configuration file: one job per role, every target static, labelled with its pod."""
    interval = f"{round(interval_s * 1000)}ms"
    jobs = {target.job: None for target in targets}
    return yaml.safe_dump(
        {
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "evaluation_interval": interval,
            },
            "scrape_configs": [
                {"job_name": job, "static_configs": _static(t for t in targets if t.job == job)}
                for job in jobs
            ],
        },
        sort_keys=False,
    )


def _static(targets: Iterable[Target]) -> list[dict[str, object]]:
    return [{"targets": [target.address], "labels": {"pod": target.pod}} for target in targets]


def start(
    binary: Path,
    directory: Path,
    targets: Sequence[Target],
    *,
    interval_s: float = SCRAPE_INTERVAL_S,
    extra_args: Sequence[str] = (),
    timeout_s: float = READY_TIMEOUT_S,
) -> PrometheusServer:
    """A server that answers queries, its data below `directory`. Raises PrometheusStartError."""
    server = launch(binary, directory, targets, interval_s=interval_s, extra_args=extra_args)
    try:
        return wait_ready(server, timeout_s=timeout_s)
    except PrometheusStartError:
        server.stop()
        raise


def launch(
    binary: Path,
    directory: Path,
    targets: Sequence[Target],
    *,
    interval_s: float = SCRAPE_INTERVAL_S,
    extra_args: Sequence[str] = (),
) -> PrometheusServer:
    """A server that was just started, from a thread that must live as long as the server should."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "prometheus.yml").write_text(config_text(targets, interval_s))
    server_args: list[str | Path] = [binary, *_flags(directory), *_lockfile_flag(binary), *extra_args]
    try:
        process = children.launch(server_args, directory / "prometheus.log")
    except OSError as error:
        raise PrometheusStartError(f"{binary} could not be started: {error}") from error
    return PrometheusServer(process, directory)


def wait_ready(server: PrometheusServer, *, timeout_s: float = READY_TIMEOUT_S) -> PrometheusServer:
    """The same server with its `url`, once it answers. Raises PrometheusStartError."""
    try:
        url = wait_until(
            lambda: _address(server),
            what="Prometheus to say where it listens",
            timeout_s=timeout_s,
            every_s=0.02,
        )
        wait_until(
            lambda: _answers(server, url), what="Prometheus to be ready", timeout_s=timeout_s, every_s=0.02
        )
    except WaitTimeoutError as error:
        raise PrometheusStartError(f"{error}; its log is {server.log}") from error
    return PrometheusServer(server.process, server.directory, url)


def _flags(directory: Path) -> list[str]:
    return [
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        "--storage.tsdb.retention.time=1d",
        "--web.listen-address=127.0.0.1:0",
        "--web.enable-lifecycle",
        "--query.lookback-delta=5s",
        "--query.timeout=10s",
    ]


def _lockfile_flag(binary: Path) -> list[str]:
    """Debian's 2.x builds leave the data directory unlocked unless told; others refuse the flag."""
    try:
        told = subprocess.run([binary, "--help"], capture_output=True, timeout=HELP_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrometheusStartError(f"{binary} --help did not answer: {error}") from error
    return (
        ["--storage.tsdb.use-lockfile"] if b"--storage.tsdb.use-lockfile" in told.stdout + told.stderr else []
    )


def _address(server: PrometheusServer) -> str:
    _refuse_ended(server)
    found = _LISTENING.search(server.log.read_text(errors="replace"))
    return f"http://{found.group(1)}" if found else ""


def _answers(server: PrometheusServer, url: str) -> bool:
    _refuse_ended(server)
    try:
        with _DIRECT.open(f"{url}/-/ready", timeout=1) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _refuse_ended(server: PrometheusServer) -> None:
    if (code := server.process.poll()) is not None:
        last = children.last_line(server.log)
        raise PrometheusStartError(f"Prometheus ended with code {code} right after its start: {last}")
