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

pytestmark = pytest.mark.integration

Start = Callable[..., Any]
STOP_S_MAX = 2.0
QUIET = ("--kv-events-config", "{}")


def test_with_one_engine_every_allowed_hit_is_a_routed_one(start: Start) -> None:
    engine = start("engine", *QUIET)
    load = start("load", "--gateway", engine.url, "--engines", engine.address, "--rate", "60")
    load.wait_for("resync_load_routed_hits_total", 20)
    allowed, routed = load.values("resync_load_allowed_hits_total", "resync_load_routed_hits_total")
    assert allowed == pytest.approx(routed, abs=1)
    audited = load.value("resync_load_audited_total")
    assert audited >= load.value("resync_load_allowed_hits_total")
    assert load.value("resync_load_sent_total") > audited + load.value("resync_load_bypassed_total") > audited
    assert load.value('resync_load_completed_total{status="200"}') > 40
    assert load.value("resync_load_asked_rate") == 60
    assert load.value("resync_load_last_sent_timestamp_seconds") == pytest.approx(time.time(), abs=2)
    assert load.value("resync_load_sent_created") == pytest.approx(time.time(), abs=60)
    assert load.value("resync_load_audit_failures_total") == 0


def test_a_full_pool_evicts_from_the_first_second_on(start: Start) -> None:
    engine = start("engine", *QUIET)
    load = start("load", "--gateway", engine.url, "--engines", engine.address)
    load.wait_for("resync_load_sent_total", 60)
    assert f"{engine.url} filled with 400 blocks" in load.log.read_text()
    with urllib.request.urlopen(f"{engine.url}/truth", timeout=5) as response:  # noqa: S310
        assert json.load(response)["removed_total"] > 80


def test_hits_that_truth_allows_are_missed_when_requests_go_elsewhere(start: Start) -> None:
    """The "gateway" is an engine too small to keep anything; the engine beside it keeps everything."""
    warm, cold = start("engine", *QUIET), start("engine", *QUIET, "--blocks", "16")
    load = start(
        *("load", "--gateway", cold.url, "--engines", warm.address, "--rate", "60", "--bypass-share", "0.5")
    )
    allowed = load.wait_for("resync_load_allowed_hits_total", 20)
    assert load.value("resync_load_routed_hits_total") < allowed / 2


def test_an_open_loop_sends_on_although_nothing_is_answered(start: Start, gateway: Any) -> None:
    load = start("load", "--gateway", gateway.url, "--rate", "50", "--in-flight-max", "30")
    load.wait_for('resync_load_refused_total{reason="in-flight"}', 10)
    assert gateway.requests == load.value("resync_load_sent_total") == 30


def test_a_mute_engine_leaves_requests_unaudited_and_unjudged(start: Start, gateway: Any) -> None:
    gateway.behaviour = "refuse"
    load = start("load", "--gateway", gateway.url, "--engines", gateway.url.removeprefix("http://"))
    load.wait_for("resync_load_audit_failures_total", 3)
    assert load.value("resync_load_audited_total") == 0
    assert load.value('resync_load_completed_total{status="503"}') > 0
    assert "then answered 503" in load.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_even_while_nothing_answers(
    start: Start, gateway: Any, number: signal.Signals
) -> None:
    load = start("load", "--gateway", gateway.url)
    load.wait_for("resync_load_sent_total", 3)
    load.process.send_signal(number)
    assert load.process.wait(STOP_S_MAX) == 0
    assert "Traceback" not in load.log.read_text()


def test_it_ends_with_0_while_it_waits_for_its_gateway(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        url = "http://{}:{}".format(*closing.getsockname())
    load = start("load", "--gateway", url)
    load.process.terminate()
    assert load.process.wait(STOP_S_MAX) == 0


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
