"""Programs that are not ours as gateway and engines: they owe us nothing, and nothing of ours falls over."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from resync.cluster.pods import list_pods
from resync.kits.waits import wait_until
from resync.lab.errors import LabStartError
from resync.lab.handle import LabHandle

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

STRANGER = """
import http.server, os
NAME = os.environ["POD_NAME"]
class Stranger(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = f"<h1>I am {NAME} at {os.environ['POD_IP']}</h1>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
address = os.environ["POD_BIND_IP"], int(os.environ["PORT_HTTP"])
print(NAME, "listens with", sorted(name for name in os.environ if name.startswith("PORT_")), flush=True)
http.server.ThreadingHTTPServer(address, Stranger).serve_forever()
"""
FreshLab = Callable[..., LabHandle]


@pytest.fixture
def stranger(tmp_path: Path) -> str:
    """A command that answers every request, with nothing anybody asked for."""
    (tmp_path / "stranger.py").write_text(STRANGER)
    return f"exec {sys.executable} {tmp_path}/stranger.py"


def restarts(lab: LabHandle) -> dict[str, int]:
    """Of every pod that is Ready, but for the one that measures."""
    with lab.cluster() as cluster:
        found = list_pods(cluster, lab.namespace, "app!=prometheus")
    return {pod.name: pod.restart_count for pod in found if pod.ready}


def test_strangers_take_every_place_and_nothing_crashes(fresh_lab: FreshLab, stranger: str) -> None:
    lab = fresh_lab("--engines", "2", "--engine-cmd", stranger, "--gateway-cmd", stranger)
    answer = requests.get(f"{lab.gateway_url}/anything", timeout=5)
    assert answer.text == f"<h1>I am gateway-0 at {lab.gateway_url.split('/')[2].split(':')[0]}</h1>"
    logs = lab.state_dir / "lab" / "logs"
    said = (logs / "default_engine-1.log").read_text()
    assert "engine-1 listens with ['PORT_HTTP', 'PORT_KV_EVENTS', 'PORT_KV_REPLAY']" in said
    for proof in (
        "sum(resync_load_completed_total) > 20",
        "sum(resync_observer_failures_total) > 8",
    ):
        wait_until(lambda proof=proof: lab.query(proof), what=proof, timeout_s=45)  # type: ignore[misc]
    assert restarts(lab) == dict.fromkeys(("engine-0", "engine-1", "gateway-0", "load-0", "observer-0"), 0)


def test_our_gateway_stands_an_engine_that_publishes_nothing(fresh_lab: FreshLab, stranger: str) -> None:
    lab = fresh_lab("--engines", "1", "--engine-cmd", stranger)
    wait_until(
        lambda: lab.query("sum(resync_load_completed_total) > 5"),
        what="requests to be answered",
        timeout_s=45,
    )
    assert restarts(lab) == dict.fromkeys(("engine-0", "gateway-0", "load-0", "observer-0"), 0)


def test_a_command_that_ends_at_once_is_said_with_its_exit_code_and_last_words(fresh_lab: FreshLab) -> None:
    with pytest.raises(LabStartError, match=r"as soon as it is started, with exit code 3; .*no such model"):
        fresh_lab("--engines", "1", "--engine-cmd", "echo no such model >&2; exit 3")
