"""What the default load makes happen in three engines behind the gateway: enough in five seconds."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ENGINE_IPS = [f"127.212.{os.getpid() % 250}.{place}" for place in (10, 11, 12)]
GATEWAY_IP = f"127.212.{os.getpid() % 250}.110"
WARM_S, WINDOW_S = 4, 5
SHARE_OF = 150
"""Hits after which the share of the routed ones is judged: one more or less is then no matter."""
HITS = ("resync_load_routed_hits_total", "resync_load_allowed_hits_total")


def truths() -> list[dict[str, Any]]:
    answers = []
    for ip in ENGINE_IPS:
        with urllib.request.urlopen(f"http://{ip}:8000/truth", timeout=5) as response:
            answers.append(json.load(response))
    return answers


def shared_hashes(engines: list[dict[str, Any]]) -> int:
    a, b, c = ({block for _group, block, *_ in engine["blocks"]} for engine in engines)
    return len((a & b) | (a & c) | (b & c))


@pytest.fixture
def behind_a_gateway(tmp_path: Path) -> Iterator[str]:
    """Three engines and a gateway on addresses of their own; the gateway's URL."""
    started = []

    def start(module: str, name: str, ip: str, *arguments: str) -> None:
        env = {**os.environ, "POD_IP": ip, "POD_BIND_IP": ip, "POD_NAME": name, "POD_NAMESPACE": "default"}
        with (tmp_path / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", f"resync.{module}", *arguments]
            started.append(subprocess.Popen(command, stderr=log, env=env))

    for place, ip in enumerate(ENGINE_IPS):
        start("engine", f"engine-{place}", ip)
    static = ",".join(f"engine-{place}={ip}" for place, ip in enumerate(ENGINE_IPS))
    start("gateway", "gateway-0", GATEWAY_IP, "--static-engines", static)
    yield f"http://{GATEWAY_IP}:8080"
    for process in started:
        process.kill()
        process.wait(10)


def test_five_seconds_hold_removals_shared_hashes_and_routed_hits(
    start: Callable[..., Any], behind_a_gateway: str
) -> None:
    engines = ",".join(f"{ip}:8000" for ip in ENGINE_IPS)
    load = start("load", "--gateway", behind_a_gateway, "--engines", engines)

    def wait_for_sent(requests: float) -> None:
        load.wait_for("resync_load_sent_total", requests, timeout_s=40)

    wait_for_sent(30 * WARM_S)
    before, (routed, allowed) = truths(), load.values(*HITS)

    def hits_since() -> tuple[float, float]:
        routed_now, allowed_now = load.values(*HITS)
        return routed_now - routed, allowed_now - allowed

    shared = [shared_hashes(before)]
    for second in range(1, WINDOW_S + 1):
        wait_for_sent(30 * (WARM_S + second))
        shared.append(shared_hashes(truths()))
    routed_in_window, _allowed = hits_since()
    removed = sum(e["removed_total"] for e in truths()) - sum(e["removed_total"] for e in before)
    assert removed >= 80
    assert min(shared) >= 20
    assert routed_in_window >= 30
    load.wait_for("resync_load_allowed_hits_total", allowed + SHARE_OF, timeout_s=90)
    routed_since, allowed_since = hits_since()
    assert routed_since > 0.95 * allowed_since
