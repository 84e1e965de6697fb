"""A pod with two data-parallel ranks: each is followed, and requests go to the rank that has their prefix."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pytest

from resync.kits.waits import wait_until
from resync.kvsync.fleet import LABEL_RANKS, LABEL_REPLAY_PORT
from resync.kvsync.records import BlockStored
from resync.kvsync.source import EVENT_PORT
from resync.lab.api.process import ApiProcess
from resync.testing import Publisher

if TYPE_CHECKING:
    from tests.gateway.conftest import Pods
else:
    Pods = Any

pytestmark = pytest.mark.integration

REPLAY_PORT = 5567
LABELS = {
    "model.aibrix.ai/name": "llama2-7b",
    "model.aibrix.ai/kv-events-enabled": "true",
    LABEL_RANKS: "2",
    LABEL_REPLAY_PORT: str(REPLAY_PORT),
}
BLOCKS, BLOCK = 4, 16
RANKS = (0, 1)
PATIENCE_S = 60.0
"""For a machine that does a lot beside."""


class Server:
    """A server with two ranks: real publishers on neighbouring ports, and an HTTP front before both."""

    name = "engine-0"
    pod_key = f"default/{name}"
    keys = (pod_key, f"{pod_key}#dp1")

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self.asked: list[str | None] = []
        """The rank that each completion named."""
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with self._cleanup as stack:
            self.ranks = [self._publisher(rank) for rank in RANKS]
            stack.callback(self._end_ranks)
            front = stack.enter_context(ThreadingHTTPServer((self.ip, 8000), self._front()))
            thread = threading.Thread(target=front.serve_forever, name="front")
            thread.start()
            stack.callback(thread.join)
            stack.callback(front.shutdown)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _end_ranks(self) -> None:
        for rank in self.ranks:
            rank.close()

    def _publisher(self, rank: int) -> Publisher:
        return Publisher(host=self.ip, event_port=EVENT_PORT + rank, replay_port=REPLAY_PORT + rank)

    def _front(self) -> type[BaseHTTPRequestHandler]:
        asked = self.asked

        class Front(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                asked.append(self.headers["X-data-parallel-rank"])
                self._answer()

            def _answer(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        return Front

    def store(self, rank: int, prompt: list[int]) -> None:
        """Let that rank say that it has the whole blocks of the prompt."""
        hashes = tuple(range(prompt[0] + 1, prompt[0] + 1 + BLOCKS))
        self.ranks[rank].publish(BlockStored(hashes, None, tuple(prompt[: BLOCKS * BLOCK]), BLOCK))

    def restart(self, rank: int) -> None:
        """Begin the next life of that rank, with nothing in it."""
        self.ranks[rank].close()
        self.ranks[rank] = self._publisher(rank)


@pytest.fixture
def place(fleet_of: Any) -> Any:
    """Addresses, and no engine of the usual kind."""
    return fleet_of(0)


@pytest.fixture
def server(place: Any) -> Iterator[Server]:
    with Server(f"{place._network}.90") as made:
        yield made


@pytest.fixture
def start(place: Any, api: ApiProcess) -> Callable[[str, int], Any]:
    """Start what follows the pods: `gateway` or `observer`."""
    return lambda what, port: place.start(
        f"{what}-0", port, f"resync.{what}", "--kubeconfig", str(api.kubeconfig)
    )


@pytest.fixture
def gateway(start: Callable[[str, int], Any], pods: Pods, server: Server) -> Any:
    """A gateway that follows both ranks."""
    pods.create(server, LABELS)
    started = start("gateway", 8080)
    wait_for_both(started, server)
    return started


def wait_for_both(gateway: Any, server: Server) -> None:
    """Until both are followed, and hear of what is published now."""
    gateway.wait_for(
        "both ranks",
        lambda page: all(page.value("resync_gateway_source_exact", pod_key=key) == 1 for key in server.keys),
        PATIENCE_S,
    )
    wait_until(
        lambda: all(rank.subscribers for rank in server.ranks),
        what="both subscriptions",
        timeout_s=PATIENCE_S,
    )


def wait_for_applied(gateway: Any, key: str, seq: int) -> None:
    gateway.wait_for(
        f"batch {seq} of {key}",
        lambda page: page.value("resync_gateway_applied_sequence", pod_key=key) == seq,
        PATIENCE_S,
    )


def entries(gateway: Any) -> dict[str, int]:
    pods = msgspec.json.decode(gateway.get("/index"))["pods"]
    return {key: len(pod["entries"]) for key, pod in pods.items()}


def wait_for_routed(gateway: Any, server: Server, complete: Any, prompt: list[int], rank: str) -> None:
    """Ask until it is routed by its prefix: an engine that has not answered yet gets no requests."""

    def routed() -> bool:
        _status, headers, _body = complete(gateway, prompt)
        said = headers.get("target-pod"), headers.get("x-routing-selection"), server.asked[-1:]
        return said == (server.name, "prefix_match", [rank])

    wait_until(routed, what=f"the prompt to be routed to rank {rank}", timeout_s=PATIENCE_S)


def test_a_prompt_is_asked_of_the_rank_that_has_its_prefix(
    gateway: Any, server: Server, complete: Any, prompt_of: Any
) -> None:
    prompts = [prompt_of(BLOCKS, seed=seed) for seed in (1, 2)]
    server.store(1, prompts[1])
    wait_for_applied(gateway, server.keys[1], 0)
    assert entries(gateway) == {server.keys[0]: 0, server.keys[1]: BLOCKS}
    wait_for_routed(gateway, server, complete, prompts[1], "1")
    server.store(0, prompts[0])
    wait_for_applied(gateway, server.keys[0], 0)
    wait_for_routed(gateway, server, complete, prompts[0], "0")
    wait_for_routed(gateway, server, complete, prompts[1], "1")


def test_a_rank_that_restarts_takes_nothing_from_the_others(
    gateway: Any, server: Server, prompt_of: Any
) -> None:
    for rank, key in zip(RANKS, server.keys, strict=True):
        server.store(rank, prompt_of(BLOCKS, seed=1))
        wait_for_applied(gateway, key, 0)
    assert entries(gateway) == dict.fromkeys(server.keys, BLOCKS)
    server.restart(1)
    wait_for_applied(gateway, server.keys[1], -1)
    assert entries(gateway) == {server.keys[0]: BLOCKS, server.keys[1]: 0}
    wait_for_both(gateway, server)


def test_a_pod_that_leaves_takes_all_its_ranks_with_it(gateway: Any, server: Server, pods: Pods) -> None:
    pods.delete(server)
    gateway.wait_for("no series of it", lambda page: server.pod_key not in page.text, PATIENCE_S)
    assert entries(gateway) == {}


def test_labels_that_do_not_fit_are_said_once_and_rank_0_is_followed(
    start: Callable[[str, int], Any], pods: Pods, server: Server
) -> None:
    pods.create(server, {**LABELS, LABEL_RANKS: "two"})
    gateway = start("gateway", 8080)
    first, second = f"{server.pod_key} has 'two' ranks", f"{server.pod_key} has replay port 'zmq'"
    wait_until(lambda: first in gateway.log(), what="the warning", timeout_s=PATIENCE_S)
    assert list(entries(gateway)) == [server.pod_key]
    pods.report(server, ready=False)
    pods.report(server, ready=True)
    pods.label(server, {LABEL_RANKS: "2", LABEL_REPLAY_PORT: "zmq"})
    wait_until(lambda: second in gateway.log(), what="the next warning", timeout_s=PATIENCE_S)
    assert list(entries(gateway)) == [server.pod_key]
    pods.label(server, {LABEL_REPLAY_PORT: str(REPLAY_PORT)})
    wait_for_both(gateway, server)
    assert (gateway.log().count(first), gateway.log().count(second)) == (1, 1)


def test_without_kv_sync_a_server_chooses_its_rank_itself(
    start: Callable[[str, int], Any],
    pods: Pods,
    server: Server,
    complete: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIBRIX_PREFIX_CACHE_KV_EVENT_SYNC_ENABLED", "false")
    pods.create(server, {**LABELS, LABEL_RANKS: "two"})
    gateway = start("gateway", 8080)
    wait_until(
        lambda: complete(gateway, [1, 2, 3])[1].get("target-pod") == server.name,
        what="an answer",
        timeout_s=PATIENCE_S,
    )
    assert set(server.asked) == {None}
    assert list(entries(gateway)) == [server.pod_key]
    assert "ranks" not in gateway.log(), "nobody is followed, so nothing follows from its labels"


def test_an_observer_says_that_it_cannot_measure_a_pod_with_ranks(
    start: Callable[[str, int], Any], pods: Pods, gateway: Any
) -> None:
    pods.create(gateway, {"app": "gateway-plugins"})
    observer = start("observer", 9100)
    page = observer.wait_for(
        "refusals",
        lambda page: page.value("resync_observer_failures_total", reason="several_ranks") > 1,
        PATIENCE_S,
    )
    assert page.value("resync_gateways_selected") == 1
    assert page.value("resync_gateways_audited") == 0
    assert page.total("resync_cuts_total") == 0
    assert page.divergence() == {}
