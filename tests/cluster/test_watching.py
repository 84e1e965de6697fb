"""The pod watch delivers what is there, whatever happens to the server, and leaves no thread."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest
import yaml

from resync.cluster.connecting import Cluster
from resync.cluster.errors import KubeconfigError
from resync.cluster.pods import Pod
from resync.cluster.watching import PodWatch
from resync.kits.waits import wait_until, wait_until_async
from resync.lab.api.process import ApiProcess, start_api

pytestmark = pytest.mark.integration

PodMaker = Callable[..., None]


class Seen:
    def __init__(self) -> None:
        self.snapshots: list[tuple[Pod, ...]] = []

    def __call__(self, pods: tuple[Pod, ...]) -> None:
        self.snapshots.append(pods)

    def names(self) -> list[str] | None:
        return [pod.name for pod in self.snapshots[-1]] if self.snapshots else None

    async def until(self, names: list[str]) -> None:
        async def there() -> bool:
            return self.names() == names

        await wait_until_async(there, what=f"the pods {names}", timeout_s=10)


def watcher_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pod-watch"]


def test_the_first_snapshot_comes_even_when_it_is_empty(api: ApiProcess, namespace: str) -> None:
    async def run() -> None:
        seen = Seen()
        async with PodWatch(api.kubeconfig, namespace, on_pods=seen):
            await seen.until([])

    asyncio.run(run())
    assert watcher_threads() == []


def test_every_change_arrives_as_a_whole_snapshot(
    api: ApiProcess, cluster: Cluster, namespace: str, make_pod: PodMaker
) -> None:
    make_pod("a", app="vllm")

    async def run() -> None:
        seen = Seen()
        async with PodWatch(api.kubeconfig, namespace, "app=vllm", on_pods=seen):
            await seen.until(["a"])
            await asyncio.to_thread(make_pod, "b", app="vllm")
            await asyncio.to_thread(make_pod, "c", app="gateway")
            await seen.until(["a", "b"])

            async def b_is_ready() -> bool:
                return seen.snapshots[-1][1].ready

            await wait_until_async(b_is_ready, what="b to be Ready", timeout_s=5)
            path = f"/api/v1/namespaces/{namespace}/pods/a"
            await asyncio.to_thread(
                cluster.request, "DELETE", path, body={"gracePeriodSeconds": 0, "kind": "DeleteOptions"}
            )
            await seen.until(["b"])
        assert not any("c" in [pod.name for pod in pods] for pods in seen.snapshots)

    asyncio.run(run())
    assert watcher_threads() == []


def test_an_unusable_kubeconfig_is_refused_at_the_start(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(KubeconfigError):
            PodWatch(tmp_path / "missing", "default", on_pods=Seen()).start()

    asyncio.run(run())


class Relay:
    """Stands between the watch and its server, and can cut every connection."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.upstream, timeout=30)
            self.open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            return

    def cut(self) -> None:
        while self.open:
            one = self.open.pop()
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()


def behind(relay_port: int, kubeconfig: Path, path: Path) -> Path:
    """The same kubeconfig, by way of the relay."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    parts = urlsplit(cluster["server"])
    cluster["server"] = urlunsplit(parts._replace(netloc=f"127.0.0.1:{relay_port}"))
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_cut_connection_loses_nothing(
    api: ApiProcess, cluster: Cluster, namespace: str, make_pod: PodMaker, tmp_path: Path
) -> None:
    make_pod("a")
    parts = urlsplit(cluster.api_client.configuration.host)
    relay = Relay((parts.hostname or "", parts.port or 0))
    kubeconfig = behind(relay.port, api.kubeconfig, tmp_path / "kubeconfig")

    async def run() -> None:
        seen = Seen()
        watch = PodWatch(kubeconfig, namespace, on_pods=seen)
        async with watch:
            await seen.until(["a"])
            for name in ("b", "c"):
                await asyncio.to_thread(relay.cut)
                await asyncio.to_thread(make_pod, name)
                await seen.until(["a", *(one for one in ("b", "c") if one <= name)])

    try:
        asyncio.run(run())
    finally:
        relay.close()
    assert watcher_threads() == []


def test_a_stop_while_the_connection_is_being_made_is_a_stop(
    api: ApiProcess, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is there, and nobody can unblock it yet: it must not be read."""
    stream = Cluster.stream

    async def run() -> None:
        watch = PodWatch(api.kubeconfig, namespace, on_pods=Seen())

        def then_it_is_stopped(cluster: Cluster, *given: Any, **named: Any) -> Any:
            answer = stream(cluster, *given, **named)
            stopper.start()
            wait_until(watch._stopped.is_set, what="the stop", timeout_s=5)
            return answer

        stopper = threading.Thread(target=watch.stop)
        monkeypatch.setattr(Cluster, "stream", then_it_is_stopped)
        watch.start()
        await asyncio.to_thread(wait_until, lambda: stopper.ident, what="the stopper", timeout_s=5)
        await asyncio.to_thread(stopper.join, 3)
        assert not stopper.is_alive()

    asyncio.run(run())
    assert watcher_threads() == []


def test_a_server_that_went_is_noticed_and_the_watch_still_stops(tmp_path: Path) -> None:
    server = start_api(tmp_path)

    async def run() -> None:
        seen = Seen()
        watch = PodWatch(server.kubeconfig, "default", on_pods=seen)
        async with watch:
            await seen.until([])
            await asyncio.to_thread(server.stop)

            async def noticed() -> bool:
                return watch.last_problem is not None

            await wait_until_async(noticed, what="the loss to be noticed", timeout_s=10)

    try:
        asyncio.run(run())
    finally:
        server.stop()
    assert watcher_threads() == []


class Script(BaseHTTPRequestHandler):
    """An API server that forgets: each watch is told 410, each list shows one pod more."""

    lists = 0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "watch" in query:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            body = json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n"
        else:
            type(self).lists += 1
            pods = [
                {"metadata": {"name": f"p{i}", "namespace": "ns", "uid": f"{i}"}} for i in range(self.lists)
            ]
            body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": pods}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it so
        """Quiet."""


def test_a_version_that_is_gone_means_to_list_again(api: ApiProcess, tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Script)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    kubeconfig = behind(server.server_address[1], api.kubeconfig, tmp_path / "kubeconfig")

    async def run() -> None:
        seen = Seen()
        watch = PodWatch(kubeconfig, "ns", on_pods=seen)
        async with watch:

            async def relisted() -> bool:
                return len(seen.names() or ()) >= 3

            await wait_until_async(relisted, what="three lists", timeout_s=10)
        assert "410 Expired" in (watch.last_problem or "")

    try:
        asyncio.run(run())
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert watcher_threads() == []
