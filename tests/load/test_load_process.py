"""The load as a process: it keeps its schedule, counts what it sees, and judges who routes."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from resync.kits.waits import wait_until

pytestmark = pytest.mark.integration

Start = Callable[..., Any]
STOP_S_MAX = 2.0
STOP_TIMEOUT_S = 20.0
"""On whatever machine, and still before anything that a load may wait for."""
PATIENT = ("--timeout-s", "60")
QUIET = ("--kv-events-config", "{}")


def test_with_one_engine_every_allowed_hit_is_a_routed_one(start: Start) -> None:
    """Nothing is evicted, so nothing that was held when it was asked for is gone when it is wanted."""
    engine = start("engine", *QUIET, "--blocks", "20000")
    load = start("load", "--gateway", engine.url, "--engines", engine.address, "--rate", "60")
    load.wait_for("resync_load_routed_hits_total", 20)
    load.wait_for('resync_load_completed_total{status="200"}', 41)
    names = ("allowed_hits", "routed_hits", "audited", "bypassed", "sent")
    allowed, routed, audited, bypassed, sent = load.values(*(f"resync_load_{name}_total" for name in names))
    assert audited >= allowed == routed
    assert sent > audited + bypassed > audited
    assert load.value("resync_load_asked_rate") == 60
    since_s = time.time()
    load.wait_for("resync_load_sent_total", load.value("resync_load_sent_total") + 1)
    assert since_s <= load.value("resync_load_last_sent_timestamp_seconds") <= time.time()
    assert load.value("resync_load_sent_created") == pytest.approx(time.time(), abs=60)
    assert load.value("resync_load_audit_failures_total") == 0


def test_a_full_pool_evicts_from_the_first_second_on(start: Start) -> None:
    engine = start("engine", *QUIET)
    load = start("load", "--gateway", engine.url, "--engines", engine.address)
    wait_until(
        lambda: f"{engine.url} filled with 400 blocks" in load.log.read_text(),
        what="the pool to be filled",
        timeout_s=30,
    )
    completed = 'resync_load_completed_total{status="200"}'
    load.wait_for(completed, load.value(completed) + 60)
    with urllib.request.urlopen(f"{engine.url}/truth", timeout=5) as response:  # noqa: S310
        assert json.load(response)["removed_total"] > 80


def test_hits_that_truth_allows_are_missed_when_requests_go_elsewhere(start: Start) -> None:
    """The "gateway" is an engine too small to keep anything; the engine beside it keeps everything."""
    warm, cold = start("engine", *QUIET), start("engine", *QUIET, "--blocks", "16")
    load = start(
        *("load", "--gateway", cold.url, "--engines", warm.address, "--rate", "60", "--bypass-share", "0.5")
    )
    load.wait_for("resync_load_allowed_hits_total", 20)
    allowed, routed = load.values("resync_load_allowed_hits_total", "resync_load_routed_hits_total")
    assert routed < allowed / 2


def test_an_open_loop_sends_on_although_nothing_is_answered(start: Start, gateway: Any) -> None:
    limited = ("--rate", "50", "--in-flight-max", "30")
    load = start("load", "--gateway", gateway.url, *limited, *PATIENT)
    load.wait_for('resync_load_refused_total{reason="in-flight"}', 10)
    wait_until(lambda: gateway.requests >= 30, what="what was sent to arrive", timeout_s=15)
    assert gateway.requests == load.value("resync_load_sent_total") == 30


def test_a_mute_engine_leaves_requests_unaudited_and_unjudged(start: Start, gateway: Any) -> None:
    gateway.behaviour = "refuse"
    load = start("load", "--gateway", gateway.url, "--engines", gateway.url.removeprefix("http://"))
    load.wait_for("resync_load_audit_failures_total", 3)
    load.wait_for('resync_load_completed_total{status="503"}', 1)
    wait_until(
        lambda: "then answered 503" in load.log.read_text(), what="the filling to give up", timeout_s=15
    )
    assert load.value("resync_load_audited_total") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_even_while_nothing_answers(
    start: Start, gateway: Any, number: signal.Signals
) -> None:
    """A busy machine only adds: the quickest of three tells how long it takes."""

    def stopping_s() -> float:
        load = start("load", "--gateway", gateway.url, *PATIENT)
        load.wait_for("resync_load_sent_total", 3)
        began_s = time.monotonic()
        load.process.send_signal(number)
        assert load.process.wait(STOP_TIMEOUT_S) == 0
        took_s = time.monotonic() - began_s
        assert "Traceback" not in load.log.read_text()
        return took_s

    assert any(stopping_s() <= STOP_S_MAX for _ in range(3))


def test_it_ends_with_0_while_it_waits_for_its_gateway(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        url = "http://{}:{}".format(*closing.getsockname())
    load = start("load", "--gateway", url)
    load.process.terminate()
    assert load.process.wait(STOP_TIMEOUT_S) == 0


def run_to_its_end(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "resync.load", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_a_wrong_argument_ends_it_with_2_and_one_sentence() -> None:
    ended = run_to_its_end("--engines", "127.0.0.1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "resync.load: --engines: '127.0.0.1' is not ip:port\n"


def test_a_taken_port_ends_it_with_1_and_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_to_its_end("--http-port", str(taken.getsockname()[1]))
    assert ended.returncode == 1
    assert re.fullmatch(r"resync\.load\.process: cannot listen.*in use.*\n", ended.stderr)
