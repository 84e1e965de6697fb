"""The command of a Prometheus server with every target known before it starts.

The server looks at its target lists on a fixed five-second ticker, so a target declared later costs up to
five seconds and the first sample takes five to six in any case. The lab therefore gives its pods fixed
addresses, and starts the server first.
"""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from resync.lab.prometheus.errors import PrometheusStartError

SCRAPE_INTERVAL_S = 0.25
HELP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Target:
    """One place to scrape: `job` is the role, `address` host:port, `pod` becomes a label of every series."""

    job: str
    address: str
    pod: str


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


def prepared(binary: Path, directory: Path, targets: Sequence[Target], *, listen: str) -> list[str]:
    """The command of a server that scrapes `targets`; its configuration and data are below `directory`.

    `listen` is host:port. Raises PrometheusStartError when the program cannot be run.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "prometheus.yml").write_text(config_text(targets))
    return [
        str(binary),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        "--storage.tsdb.retention.time=1d",
        f"--web.listen-address={listen}",
        "--web.enable-lifecycle",
        "--query.lookback-delta=5s",
        "--query.timeout=10s",
        *_lockfile_flag(binary),
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
