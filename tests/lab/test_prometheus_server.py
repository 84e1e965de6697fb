"""How the lab's Prometheus is called, and what such a server scrapes."""

from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from resync.kits.waits import wait_until
from resync.lab.addresses import Block
from resync.lab.monitoring import Monitoring
from resync.lab.prometheus import PrometheusStartError, Target, prepared
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


def test_its_pod_listens_past_the_link_on_no_port_that_others_hold() -> None:
    monitoring = Monitoring(Block(42))
    manifest: dict[str, Any] = monitoring.manifest(
        ["prometheus", f"--web.listen-address={monitoring.listen}"]
    )
    (container,) = manifest["spec"]["containers"]
    assert manifest["metadata"]["annotations"]["resync.dev/address"] == "127.42.0.150"
    assert monitoring.url == f"http://127.42.1.150:{container['readinessProbe']['httpGet']['port']}"
    assert "9090" not in monitoring.url
    assert "ports" not in container, "the link would listen for it, and faults of the network reach it"


def query(url: str, expression: str) -> list[dict[str, object]]:
    answer = requests.get(f"{url}/api/v1/query", params={"query": expression}, timeout=5)
    answer.raise_for_status()
    return list(answer.json()["data"]["result"])


@pytest.mark.integration
def test_a_target_known_before_the_start_is_scraped(served: Any, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    Gauge("probe_value", "A value to find again.", registry=registry).set(42)
    exporter, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        with served(tmp_path, [Target("probe", f"127.0.0.1:{exporter.server_port}", "probe-0")]) as url:
            (sample,) = wait_until(
                lambda: query(url, "probe_value"), what="the first sample", timeout_s=15, every_s=0.1
            )
        assert sample["value"][1] == "42"  # type: ignore[index]
        assert {"job": "probe", "pod": "probe-0"}.items() <= sample["metric"].items()  # type: ignore[attr-defined]
    finally:
        exporter.shutdown()
        exporter.server_close()
        thread.join()


@pytest.mark.integration
def test_a_program_that_cannot_be_run_is_a_start_error(tmp_path: Path) -> None:
    with pytest.raises(PrometheusStartError, match="--help did not answer"):
        prepared(tmp_path / "nothing", tmp_path, ENGINES, listen="127.0.0.1:0")
