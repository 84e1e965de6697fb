"""Where the `prometheus` program comes from.

The first of these that has one wins: the variable RESYNC_PROMETHEUS_BIN, PATH, our own cache, the
distribution's package unpacked into that cache (see `debian`). A program named by the variable is never
replaced by another: what the user said is either right or an error. No other step asks for root, and each has
a limit in time.
"""

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from resync.kits.waits import WaitTimeoutError, wait_until
from resync.lab.prometheus import debian
from resync.lab.prometheus.errors import PrometheusError, PrometheusNotFoundError

VARIABLE = "RESYNC_PROMETHEUS_BIN"
OLDEST = (2, 42)
VERSION_TIMEOUT_S = 20.0
LOCK_TIMEOUT_S = 240.0

_SCRATCH = ".fetch-"
_VERSION = re.compile(r"prometheus, version (\d+)\.(\d+)\.(\d+)")


def find_binary(environ: Mapping[str, str] = os.environ) -> Path:
    """The path of a Prometheus server program, 2.42 or newer.

    Raises:
        PrometheusNotFoundError: none is here and none could be fetched; the message is one sentence with what
        to do.
    """
    if named := environ.get(VARIABLE):
        return _named(named)
    cache = cache_dir(environ)
    found = _on_path(environ) or _cached(cache)
    return found or _fetched(cache)


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where fetched programs are kept: `resync/prometheus` below XDG_CACHE_HOME (default `~/.cache`)."""
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".cache")
    return Path(base) / "resync" / "prometheus"


def version_of(binary: Path) -> tuple[int, int, int]:
    """The version the program states. Raises PrometheusError when it cannot be run or says something else."""
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrometheusError(f"{binary} cannot be run ({error})") from error
    match = _VERSION.search(answer.stdout + answer.stderr)
    if match is None:
        raise PrometheusError(f"{binary} is not a Prometheus server: --version did not say so")
    major, minor, patch = (int(part) for part in match.groups())
    return major, minor, patch


def _usable(binary: Path) -> bool:
    try:
        return version_of(binary)[:2] >= OLDEST
    except PrometheusError:
        return False


def _named(named: str) -> Path:
    path = Path(named).absolute()
    try:
        version = version_of(path)
    except PrometheusError as error:
        raise PrometheusNotFoundError(f"{VARIABLE}={named}: {error}") from error
    if version[:2] < OLDEST:
        stated = ".".join(map(str, version))
        raise PrometheusNotFoundError(
            f"{VARIABLE}={named} is Prometheus {stated}; resync needs 2.42 or newer"
        )
    return path


def _on_path(environ: Mapping[str, str]) -> Path | None:
    found = shutil.which("prometheus", path=environ.get("PATH", os.defpath))
    return Path(found) if found and _usable(Path(found)) else None


def _cached(cache: Path) -> Path | None:
    """Entries are named <version>-<machine> and appear by rename, so one that is there is whole."""
    entries = sorted(cache.glob(f"*-{platform.machine()}/prometheus"), key=lambda path: path.stat().st_mtime)
    return next((path for path in reversed(entries) if _usable(path)), None)


def _fetched(cache: Path) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _lock(cache):
            return _cached(cache) or _fetched_alone(cache)
    except (PrometheusError, WaitTimeoutError, OSError) as error:
        raise PrometheusNotFoundError(
            f"No Prometheus server 2.42 or newer was found, and fetching one did not work ({error}): "
            "download it from the Prometheus project's download page "
            f"and set {VARIABLE} to the path of its `prometheus` program."
        ) from error


def _fetched_alone(cache: Path) -> Path:
    """Under the lock, so scratch directories that are there were left by a fetcher that was killed."""
    for stale in cache.glob(f"{_SCRATCH}*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=_SCRATCH) as scratch:
        return _keep(debian.unpacked_prometheus(Path(scratch)), cache)


def _keep(program: Path, cache: Path) -> Path:
    version = version_of(program)
    stated = ".".join(map(str, version))
    if version[:2] < OLDEST:
        raise PrometheusError(f"the distribution's package is Prometheus {stated}, too old")
    entry = cache / f"{stated}-{platform.machine()}"
    entry.mkdir(exist_ok=True)
    return program.replace(entry / "prometheus")


@contextmanager
def _lock(cache: Path) -> Iterator[None]:
    """One fetcher per cache at a time; the kernel drops the lock of one that died."""
    with (cache / ".lock").open("w") as handle:
        wait_until(
            lambda: _locked(handle.fileno()),
            what=f"another process that is fetching Prometheus into {cache}",
            timeout_s=LOCK_TIMEOUT_S,
        )
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
