"""A Prometheus that really scrapes, four times a second, a process whose counter we move."""

import time
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest

from resync.kits.waits import wait_until
from resync.lab.prometheus import Target
from resync.metrics.access import PrometheusAccess
from resync.metrics.counts import increase
from resync.metrics.coverage import require
from resync.metrics.errors import CouldNotMeasureError
from resync.metrics.prometheus import Prometheus
from resync.metrics.selectors import selector

pytestmark = pytest.mark.integration
UP = selector("up", pod="default/a")


@pytest.fixture(scope="module")
def counter() -> prometheus_client.Counter:
    return prometheus_client.Counter("ev", "events", registry=prometheus_client.CollectorRegistry())


@pytest.fixture(scope="module")
def scraping(
    served: Any, tmp_path_factory: pytest.TempPathFactory, counter: prometheus_client.Counter
) -> Iterator[Prometheus]:
    registry = prometheus_client.CollectorRegistry()
    registry.register(counter)
    exposing, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry=registry)
    targets = [
        Target(job="ours", address=f"127.0.0.1:{exposing.server_port}", pod="default/a"),
        Target(job="dead", address="127.0.0.1:9", pod="default/b"),
    ]
    try:
        with (
            served(tmp_path_factory.mktemp("scraping"), targets) as url,
            Prometheus(PrometheusAccess(url=url)) as prometheus,
        ):
            wait_until(lambda: health(prometheus).get("ours") == "up", what="a scrape", timeout_s=15)
            yield prometheus
    finally:
        exposing.shutdown()
        exposing.server_close()
        thread.join()


def health(prometheus: Prometheus) -> dict[str, str]:
    try:
        return {target.labels["job"]: target.health for target in prometheus.targets()}
    except CouldNotMeasureError as problem:
        return {"none yet": str(problem)}


def await_three_scrapes(prometheus: Prometheus) -> float:
    """Three from now on; since when."""
    start_s = time.time()

    def seen() -> bool:
        found = prometheus.raw(UP, start_s, time.time(), expect=0)
        return bool(found) and len(found[0].samples) >= 3

    wait_until(seen, what="three scrapes", timeout_s=15)
    return start_s


def test_it_says_what_it_scrapes_and_how_often(scraping: Prometheus) -> None:
    (ours,) = [target for target in scraping.targets() if target.labels["job"] == "ours"]
    assert (ours.health, ours.interval_s, ours.labels["pod"]) == ("up", 0.25, "default/a")
    wait_until(lambda: health(scraping)["dead"] == "down", what="the dead one to be down", timeout_s=15)
    assert scraping.scrape_interval_s(job="ours") == 0.25
    with pytest.raises(CouldNotMeasureError, match="no target"):
        scraping.scrape_interval_s(job="nobody")


def test_seven_events_are_seven_and_the_window_is_covered(
    scraping: Prometheus, counter: prometheus_client.Counter
) -> None:
    shares = []
    for _ in range(3):
        start_s = await_three_scrapes(scraping)
        counter.inc(7)
        await_three_scrapes(scraping)
        end_s = time.time()
        series = scraping.raw(selector("ev_total", pod="default/a"), start_s - 5, end_s)
        births = scraping.raw(selector("ev_created", pod="default/a"), start_s - 5, end_s)
        found = increase(series, births, start_s, end_s)
        assert (found.total, found.exact, found.resets) == (7, True, 0)
        up = require(scraping.raw(UP, start_s, end_s), start_s, end_s, 0.25, share_min=0)
        assert up.present >= 6
        shares.append(up.share)
    # A stall can only take scrapes away from a window.
    assert max(shares) >= 0.6, shares
