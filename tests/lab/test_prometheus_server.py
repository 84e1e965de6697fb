"""One Prometheus server: what it scrapes, how soon it answers, how it ends."""

import os
import signal
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
import requests
import yaml
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from resync.kits.waits import wait_until
from resync.lab.prometheus import PrometheusStartError, Target, start
from resync.lab.prometheus.server import config_text

ENGINES = [Target("engine", "127.0.0.1:1", "engine-0"), Target("engine", "127.0.0.1:2", "engine-1")]


def test_every_target_is_static_one_job_per_role_labelled_with_its_pod() -> None:
    config = yaml.safe_load(config_text([*ENGINES, Target("gateway", "127.0.0.1:3", "gateway-0")], 0.25))
    assert [job["job_name"] for job in config["scrape_configs"]] == ["engine", "gateway"]
    assert config["scrape_configs"][0]["static_configs"] == [
        {"targets": ["127.0.0.1:1"], "labels": {"pod": "engine-0"}},
        {"targets": ["127.0.0.1:2"], "labels": {"pod": "engine-1"}},
    ]
    assert config["global"]["scrape_interval"] == config["global"]["scrape_timeout"] == "250ms"


def query(url: str, expression: str) -> list[dict[str, object]]:
    answer = requests.get(f"{url}/api/v1/query", params={"query": expression}, timeout=5)
    answer.raise_for_status()
    return list(answer.json()["data"]["result"])


@pytest.mark.integration
def test_a_target_known_before_the_start_is_scraped(prometheus_bin: Path, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    Gauge("probe_value", "A value to find again.", registry=registry).set(42)
    exporter, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    server = start(
        prometheus_bin, tmp_path, [Target("probe", f"127.0.0.1:{exporter.server_port}", "probe-0")]
    )
    try:
        (sample,) = wait_until(
            lambda: query(server.url, "probe_value"), what="the first sample", timeout_s=15, every_s=0.1
        )
        assert sample["value"][1] == "42"  # type: ignore[index]
        assert {"job": "probe", "pod": "probe-0"}.items() <= sample["metric"].items()  # type: ignore[attr-defined]
    finally:
        server.stop()
        exporter.shutdown()
        exporter.server_close()
        thread.join()
    assert server.process.returncode == 0


@pytest.mark.integration
def test_it_listens_on_loopback_only_and_never_on_a_fixed_port(prometheus_bin: Path, tmp_path: Path) -> None:
    server = start(prometheus_bin, tmp_path, ENGINES)
    try:
        parsed = urllib.parse.urlparse(server.url)
        assert parsed.hostname == "127.0.0.1"
        assert parsed.port != 9090
    finally:
        server.stop()


@pytest.mark.integration
def test_a_server_that_cannot_start_says_why(prometheus_bin: Path, tmp_path: Path) -> None:
    with pytest.raises(
        PrometheusStartError, match=r"ended with code \d+ right after its start: .*no-such-flag"
    ):
        start(prometheus_bin, tmp_path, ENGINES, extra_args=["--no-such-flag"])


@pytest.mark.integration
def test_a_program_that_cannot_be_run_is_a_start_error(tmp_path: Path) -> None:
    with pytest.raises(PrometheusStartError, match="--help did not answer"):
        start(tmp_path / "nothing", tmp_path, ENGINES)


@pytest.mark.integration
def test_it_does_not_outlive_a_killed_parent(prometheus_bin: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from resync.lab.prometheus import start\n"
        "server = start(Path(sys.argv[1]), Path(sys.argv[2]), [])\n"
        "print(server.process.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, prometheus_bin, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        os.kill(parent.pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), what="the server to end with its parent", timeout_s=2)


def alive(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
