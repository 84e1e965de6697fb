"""Taking the `prometheus` program out of the distribution's package, as any user, without installing it.

Debian and Ubuntu carry Prometheus as a package whose server needs nothing but the C library, so `apt-get
download` and `dpkg -x` are enough: no root, no service started, nothing outside our directory touched. apt
checks the signature with the keyrings the system already trusts. Where the system has package lists they are
used; where they are empty or out of date (container images), apt is pointed at lists of our own and brings
those up to date from the system's own sources. Documented in apt-get(8) and apt.conf(5): Dir::State::lists,
Dir::Cache, APT::Sandbox::User.
"""

import shutil
import subprocess
from pathlib import Path

from resync.lab.prometheus.errors import PrometheusError

UPDATE_TIMEOUT_S = 90.0
DOWNLOAD_TIMEOUT_S = 90.0
UNPACK_TIMEOUT_S = 60.0

_PATIENCE = (
    "-qq",
    "-oAcquire::Retries=1",
    "-oAcquire::http::Timeout=15",
    "-oAcquire::https::Timeout=15",
    "-oAcquire::Languages=none",
    "-oDebug::NoLocking=1",
)


def unpacked_prometheus(scratch: Path) -> Path:
    """The server program of the distribution's package, unpacked somewhere below `scratch`.

    Raises:
        PrometheusError: this is no Debian or Ubuntu, or its package could not be fetched or unpacked.
    """
    if missing := [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]:
        raise PrometheusError(
            f"there is no {' and no '.join(missing)} on this system to fetch its package with"
        )
    root = scratch / "root"
    _run("unpacking", ["dpkg", "-x", _package(scratch), root], scratch, UNPACK_TIMEOUT_S)
    program = root / "usr" / "bin" / "prometheus"
    if not program.is_file():
        raise PrometheusError("the distribution's prometheus package holds no server program")
    return program


def _package(scratch: Path) -> Path:
    ours = _private_directories(scratch)
    try:
        return _download(scratch, ours[:1])
    except PrometheusError:
        return _download_with_own_lists(scratch, ours)


def _private_directories(scratch: Path) -> list[str]:
    """Options for a cache of our own, then for package lists of our own."""
    (scratch / "cache" / "archives" / "partial").mkdir(parents=True)
    (scratch / "lists" / "partial").mkdir(parents=True)
    return [f"-oDir::Cache={scratch / 'cache'}", f"-oDir::State::lists={scratch / 'lists'}"]


def _download_with_own_lists(scratch: Path, ours: list[str]) -> Path:
    """One source that cannot be reached must not hide another: what counts is whether the download works."""
    try:
        _apt("bringing package lists up to date", ["update"], scratch, ours, UPDATE_TIMEOUT_S)
    except PrometheusError as update_error:
        try:
            return _download(scratch, ours)
        except PrometheusError as error:
            raise PrometheusError(f"{error}; {update_error}") from error
    return _download(scratch, ours)


def _download(scratch: Path, ours: list[str]) -> Path:
    _apt("downloading the package", ["download", "prometheus"], scratch, ours, DOWNLOAD_TIMEOUT_S)
    found = sorted(scratch.glob("prometheus_*.deb"))
    if not found:
        raise PrometheusError("apt-get said it downloaded the prometheus package, but there is none")
    return found[-1]


def _apt(what: str, command: list[str], scratch: Path, ours: list[str], timeout_s: float) -> None:
    # apt drops to its own user when started by root, who may not write into a private directory; download
    # needs no root.
    _run(what, ["apt-get", *_PATIENCE, "-oAPT::Sandbox::User=root", *ours, *command], scratch, timeout_s)


def _run(what: str, command: list[str | Path], scratch: Path, timeout_s: float) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise PrometheusError(f"{what} took more than {timeout_s:g} s") from error
    if done.returncode != 0:
        raise PrometheusError(f"{what} failed: {_last_line(done.stderr) or done.returncode}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("E: ") if lines else ""
