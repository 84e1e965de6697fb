"""A small fleet of real processes, each on an address of its own: engines, gateways, an observer, traffic."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from resync.cluster.connecting import MERGE_PATCH, Cluster
from resync.kits.waits import wait_until
from resync.lab.api.process import ApiProcess, start_api

MODEL = "llama2-7b"
PODS = "/api/v1/namespaces/default/pods"
BLOCK = 16
STOP_TIMEOUT_S = 30.0
"""On whatever machine; that it is quick is a test of its own."""
_NETWORKS = itertools.count()


class Page:
    """One metrics page, parsed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The value of one series; -inf when there is none, which no comparison mistakes for a value."""
        return self.samples.get((name, frozenset(labels.items())), float("-inf"))

    def total(self, name: str) -> float:
        """The sum over all series of a family."""
        return sum(value for (found, _labels), value in self.samples.items() if found == name)

    def by_pod(self, name: str) -> dict[str, float]:
        """The value of each pod's series of a family that has one for each."""
        return {
            dict(labels)["pod_key"]: value for (found, labels), value in self.samples.items() if found == name
        }

    def divergence(self) -> dict[tuple[str, str], int]:
        """Nonzero divergence by (pod, kind), without the control."""
        found = {}
        for (name, labels), value in self.samples.items():
            named = dict(labels)
            if name == "resync_divergence_blocks" and value and named["pod_key"] != "resync-control":
                found[named["pod_key"], named["kind"]] = int(value)
        return found


class Process:
    """One pod as a process with an address of its own."""

    def __init__(self, name: str, ip: str, port: int, log_path: Path, *arguments: str) -> None:
        self.name = name
        self.pod_key = f"default/{name}"
        self.ip = ip
        self.url = f"http://{ip}:{port}"
        self.log_path = log_path
        self._arguments = [sys.executable, "-m", *arguments]
        self.launch()

    def start(self) -> None:
        """Start it again after it was killed."""
        self.launch()
        self.wait_until_up()

    def launch(self) -> None:
        """Start it and do not wait."""
        environment = {
            **os.environ,
            "POD_NAME": self.name,
            "POD_NAMESPACE": "default",
            "POD_BIND_IP": self.ip,
        }
        environment.pop("KUBECONFIG", None)
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(self._arguments, stderr=log, env=environment)

    def wait_until_up(self) -> None:
        """Wait until it answers."""
        wait_until(self._answers, what=f"{self.name} to answer", timeout_s=20)

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.log()}")
        with contextlib.suppress(OSError):
            return self.get("/health") is not None
        return False

    def log(self) -> str:
        """What it logged so far."""
        return self.log_path.read_text()

    def get(self, path: str) -> bytes:
        """The body of one answer."""
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - loopback
            body: bytes = answer.read()
            return body

    def post(self, path: str, body: bytes) -> bytes:
        """The body of one answer. Raises HTTPError when it is a refusal."""
        with urllib.request.urlopen(self.url + path, data=body, timeout=5) as answer:  # noqa: S310 - loopback
            answered: bytes = answer.read()
            return answered

    def page(self) -> Page:
        """The metrics as of now."""
        return Page(self.get("/metrics").decode())

    def wait_for(self, what: str, condition: Callable[[Page], Any], timeout_s: float = 15.0) -> Page:
        """The first page for which `condition` holds."""

        def holds() -> Page | None:
            page = self.page()
            return page if condition(page) else None

        page = wait_until(holds, what=what, timeout_s=timeout_s, every_s=0.1)
        assert page is not None
        return page

    def wait_until_whole(self, *, engines: int) -> "Process":
        """This gateway, once so many engines are followed exactly and have answered two health checks."""
        self.wait_for(
            "every engine",
            lambda page: (
                page.total("resync_gateway_source_exact") == engines
                and sum(name == "resync_gateway_engine_rtt_seconds" for name, _labels in page.samples)
                == engines
            ),
        )
        return self

    def kill(self) -> None:
        """End it as the kernel would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as kubelet would; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        finally:
            self.process.kill()
            self.process.wait()


class Traffic:
    """Completions at a fixed rate, from a thread.

    A few shared prefixes with tails of their own, so that blocks are shared, stored and evicted.
    """

    def __init__(self, url: str, *, rate: float, seed: int = 0) -> None:
        self._url = url
        self._rate = rate
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.selections: Counter[str] = Counter()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic")
        self._thread.start()

    def stop(self) -> None:
        """End it; what is in flight is finished."""
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            while not self._stop.is_set():
                tasks.create_task(self._one(session, self._prompt()))
                await asyncio.to_thread(self._stop.wait, 1 / self._rate)

    def _prompt(self) -> list[int]:
        family = self._dice.randrange(12)
        tail = self._dice.randrange(1000)
        return [family * 1000 + n for n in range(6 * BLOCK)] + [tail * 7 + n for n in range(4 * BLOCK)]

    async def _one(self, session: aiohttp.ClientSession, prompt: list[int]) -> None:
        body = {"model": MODEL, "prompt": prompt, "max_tokens": 4}
        try:
            async with session.post(self._url + "/v1/completions", json=body) as answer:
                await answer.read()
                self.statuses[answer.status] += 1
                self.selections[answer.headers.get("x-routing-selection", "")] += 1
        except aiohttp.ClientError:
            self.statuses[0] += 1


class Relay:
    """A network between gateway and one engine: every byte is held back `delay_s`, in both directions."""

    PORTS = (8000, 5557, 5558)

    def __init__(self, ip: str, engine: Process) -> None:
        self.ip = ip
        self.name = engine.name
        self.delay_s = 0.0
        self._engine_ip = engine.ip
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"relay {ip}")
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._open = True
        self._servers = [self._do(self._listen(port)) for port in self.PORTS]

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _listen(self, port: int) -> asyncio.Server:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection(self._engine_ip, port)
            if not self._open:  # it came before the cut, and got through after it
                writer.transport.abort()
                back.transport.abort()
                return
            self._writers += (writer, back)
            for source, sink in ((reader, back), (there, writer)):
                queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
                for work in (self._read(source, queue), self._write(queue, sink)):
                    task = self._loop.create_task(work)
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

        return await asyncio.start_server(accept, self.ip, port)

    async def _read(self, source: asyncio.StreamReader, queue: "asyncio.Queue[tuple[float, bytes]]") -> None:
        data = b"-"
        while data:
            try:
                data = await source.read(65536)
            except ConnectionError:
                data = b""
            queue.put_nowait((self._loop.time() + self.delay_s, data))

    async def _write(self, queue: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
        while True:
            due_s, data = await queue.get()
            due = asyncio.Event()
            self._loop.call_at(due_s, due.set)
            await due.wait()
            if not data:
                sink.close()
                return
            sink.write(data)

    def cut(self) -> None:
        """Reset every connection and take none: what is on the way is lost."""
        self._open = False
        self._do(self._end())

    def mend(self) -> None:
        """Take connections again."""
        self._open = True
        self._servers = [self._do(self._listen(port)) for port in self.PORTS]

    def close(self) -> None:
        """End every connection."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # the aborted transports close their sockets in this turn


class Fleet:
    """Engines, and what is started beside them; `close` ends whatever still runs."""

    def __init__(self, folder: Path, *, engines: int = 3, engine_arguments: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._network = f"127.{os.getpid() % 200 + 40}.{next(_NETWORKS) % 250}"
        self._others: list[Process] = []
        self._traffic: list[Traffic] = []
        self._relays: list[Relay] = []
        self.engines = [
            Process(
                f"engine-{n}",
                f"{self._network}.{n + 1}",
                8000,
                folder / f"engine-{n}.log",
                "resync.engine",
                *engine_arguments,
            )
            for n in range(engines)
        ]
        try:
            for engine in self.engines:
                engine.wait_until_up()
        except BaseException:
            self.close()  # nobody else can: there is no fleet yet
            raise

    def relays(self) -> list[Relay]:
        """A relay in front of every engine; gateways started afterwards go through them."""
        self._relays = [Relay(f"{self._network}.{200 + n}", engine) for n, engine in enumerate(self.engines)]
        return self._relays

    def gateway(self, *arguments: str, name: str = "gateway-0") -> Process:
        """A gateway subscribed to every engine."""
        engines = ",".join(f"{way.name}={way.ip}" for way in self._relays or self.engines)
        return self.start(name, 8080, "resync.gateway", "--static-engines", engines, *arguments)

    def observer(self, *gateways: Process) -> Process:
        """An observer of those gateways."""
        engines = ",".join(f"{engine.name}={engine.ip}" for engine in self.engines)
        named = ",".join(f"{gateway.name}={gateway.ip}" for gateway in gateways)
        flags = ("--static-engines", engines, "--static-gateways", named, "--control-phase-timeout-s", "1")
        return self.start("observer-0", 9100, "resync.observer", *flags)

    def traffic(self, gateway: Process, *, rate: float = 30.0, seed: int = 0) -> Traffic:
        """Completions through that gateway, until the fleet is closed."""
        traffic = Traffic(gateway.url, rate=rate, seed=seed)
        self._traffic.append(traffic)
        return traffic

    def start(self, name: str, port: int, *arguments: str) -> Process:
        """One more process, with an address of its own."""
        ip = f"{self._network}.{100 + len(self._others)}"
        process = Process(name, ip, port, self._folder / f"{name}.log", *arguments)
        self._others.append(process)
        process.wait_until_up()
        return process

    def wait_for_answer(self, gateway: Process, prompt: list[int], *, pod: str) -> None:
        """Ask until that pod answers."""
        wait_until(
            lambda: complete(gateway, prompt)[1].get("target-pod") == pod,
            what=f"{pod} to answer",
            timeout_s=5,
        )

    def close(self) -> None:
        """Stop traffic, then processes."""
        for traffic in self._traffic:
            traffic.stop()
        for process in (*self._others, *self.engines):
            if process.process.poll() is None:
                process.kill()
        for relay in self._relays:
            relay.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, engine_arguments=("--blocks", "120"))
    yield made
    made.close()


@pytest.fixture
def lone_engine(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """A fleet of one engine, with those arguments."""
    made: list[Fleet] = []

    def start(*arguments: str) -> Fleet:
        made.append(Fleet(tmp_path, engines=1, engine_arguments=("--blocks", "120", *arguments)))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def fleet_of(tmp_path: Path) -> Iterator[Callable[[int], Fleet]]:
    """A fleet of so many engines."""
    with contextlib.ExitStack() as fleets:

        def make(engines: int) -> Fleet:
            made = Fleet(tmp_path, engines=engines, engine_arguments=("--blocks", "120"))
            fleets.callback(made.close)
            return made

        yield make


class Pods:
    """Writes pods as kubelet would."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def create(self, process: Any, labels: dict[str, str]) -> None:
        """A Running, Ready pod at the process's address."""
        spec = {"nodeName": "node-0", "containers": [{"name": "main", "image": "none"}]}
        metadata = {"name": process.name, "labels": labels}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        self._cluster.request("POST", PODS, body=body)
        self.report(process, ready=True)

    def report(self, process: Any, *, ready: bool) -> None:
        """Say whether it is Ready."""
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        status = {"phase": "Running", "podIP": process.ip, "conditions": [condition]}
        path = f"{PODS}/{process.name}/status"
        self._cluster.request("PATCH", path, body={"status": status}, content_type=MERGE_PATCH)

    def label(self, process: Any, labels: dict[str, str]) -> None:
        """Change those labels."""
        path, body = f"{PODS}/{process.name}", {"metadata": {"labels": labels}}
        self._cluster.request("PATCH", path, body=body, content_type=MERGE_PATCH)

    def delete(self, process: Any) -> None:
        """Take it out of the API at once."""
        query = {"gracePeriodSeconds": "0"}
        self._cluster.request("DELETE", f"{PODS}/{process.name}", query=query)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiProcess]:
    folder = tmp_path / "api"
    folder.mkdir()
    with start_api(folder) as process:
        yield process


@pytest.fixture
def pods(api: ApiProcess) -> Iterator[Pods]:
    with Cluster.connect(api.kubeconfig) as cluster:
        yield Pods(cluster)


def prompt_of(blocks: int, *, seed: int) -> list[int]:
    """Tokens that fill that many blocks, and five more: no block of it is in a prompt of another seed."""
    return [seed * 100_000 + n for n in range(blocks * BLOCK + 5)]


def complete(front: Process, prompt: list[int]) -> tuple[int, dict[str, str], Any]:
    """One completion by a gateway or an engine: status, headers in lower case, decoded body."""
    body = msgspec.json.encode({"model": MODEL, "prompt": prompt, "max_tokens": 1})
    request = urllib.request.Request(  # noqa: S310 - a loopback address of ours
        front.url + "/v1/completions", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
            return answer.status, _lower(answer.headers), msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, _lower(refused.headers), msgspec.json.decode(refused.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.fixture(name="complete")
def _complete() -> Callable[[Process, list[int]], tuple[int, dict[str, str], Any]]:
    return complete


@pytest.fixture(name="prompt_of")
def _prompt_of() -> Callable[..., list[int]]:
    return prompt_of
