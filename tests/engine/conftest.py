"""Engines as real processes on ports of their own, and a gateway's eye on their stream."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import zmq

from resync.kits.waits import wait_until
from resync.kvsync import wire
from resync.kvsync.records import AllBlocksCleared, Batch, BlockRemoved, BlockStored, ReplayEnd

TIMEOUT_S = 10.0
Context: TypeAlias = "zmq.Context[zmq.Socket[bytes]]"
EVENTS = {
    "enable_kv_cache_events": True,
    "endpoint": "tcp://*:0",
    "replay_endpoint": "tcp://*:0",
    "topic": "kv@e@m",
}


@dataclass
class Engine:
    """A running engine process."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        """Status and parsed JSON (or text) of one request."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(f"{self.url}{path}", data, timeout=TIMEOUT_S) as response:  # noqa: S310
                return response.status, _parsed(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read())

    def complete(self, prompt: list[int] | str, max_tokens: int = 1) -> dict[str, Any]:
        """A completion that must succeed; its usage."""
        body = {"model": "llama2-7b", "prompt": prompt, "max_tokens": max_tokens}
        status, answer = self.ask("/v1/completions", body)
        assert status == 200, answer
        usage: dict[str, Any] = answer["usage"]
        return usage

    def truth(self, seq: int | None = None) -> dict[str, Any]:
        """What the engine says it held."""
        status, answer = self.ask("/truth" if seq is None else f"/truth?seq={seq}")
        assert status == 200, answer
        truth: dict[str, Any] = answer
        return truth

    def held(self, seq: int | None = None) -> Counter[int]:
        """Copies per hash that the engine says it held."""
        return Counter({block: copies for _group, block, copies, _key in self.truth(seq)["blocks"]})

    def address(self, which: str) -> str:
        """Where its sockets really listen."""
        _, sources = self.ask("/kv_event_sources")
        return str(sources["0"][which]).replace("*", "127.0.0.1")


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode()


def _start(log: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "resync.engine", "--http-port", "0", *arguments]
        return subprocess.Popen(command, stderr=stderr, env={**os.environ, **(env or {})})


@contextmanager
def _engines(logs: Path) -> Iterator[Callable[..., Engine]]:
    started: list[subprocess.Popen[bytes]] = []

    def make(*arguments: str, env: dict[str, str] | None = None, **events: object) -> Engine:
        log = logs / f"engine-{len(started)}.log"
        process = _start(log, "--kv-events-config", json.dumps({**EVENTS, **events}), *arguments, env=env)
        started.append(process)
        listening = wait_until(
            lambda: re.findall(r"listening on (http://\S+)", log.read_text()),
            what="the engine to listen",
            timeout_s=TIMEOUT_S,
        )
        return Engine(process, log, listening[0])

    try:
        yield make
    finally:
        for process in started:
            process.kill()
            process.wait(TIMEOUT_S)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Starts engines; whatever still runs at the end is ended."""
    with _engines(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def small_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine of four blocks for questions that change nothing; batch 0 is published."""
    with _engines(tmp_path_factory.mktemp("small")) as make:
        server = make("--blocks", "4")
        server.complete(list(range(17)))
        yield server


_FOLD: dict[type, Callable[[Counter[int], Any], None]] = {
    BlockStored: lambda index, event: index.update(event.block_hashes),
    BlockRemoved: lambda index, event: index.subtract(event.block_hashes),
    AllBlocksCleared: lambda index, _: index.clear(),
}


class Listener:
    """A plain SUB socket: every batch since it was connected, in order, decoded."""

    def __init__(self, context: Context, engine: Engine) -> None:
        self._socket = context.socket(zmq.SUB)
        self._socket.subscribe(b"")
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._socket.connect(engine.address("endpoint"))
        assert self._monitor.poll(int(TIMEOUT_S * 1000)), "no handshake with the engine"
        self._socket.disable_monitor()
        self._monitor.close()
        self.topics: list[bytes] = []
        self.seqs: list[int] = []
        self.batches: list[Batch] = []

    def until(self, seq: int) -> "Listener":
        """Everything up to batch `seq` is received."""
        while not self.seqs or self.seqs[-1] < seq:
            assert self._socket.poll(int(TIMEOUT_S * 1000)), (
                f"no batch after {self.seqs[-1:]}, waited for {seq}"
            )
            message = wire.parse_live(self._socket.recv_multipart())
            self.topics.append(message.topic)
            self.seqs.append(message.seq)
            self.batches.append(wire.decode_batch(message.payload))
        return self

    def folded(self, upto: int | None = None) -> Counter[int]:
        """Copies per hash as a counting gateway has them after batch `upto`; negative where it was misled."""
        index: Counter[int] = Counter()
        for batch in self.batches[: None if upto is None else upto + 1]:
            for event in batch.events:
                _FOLD[type(event)](index, event)
        return Counter({block: copies for block, copies in index.items() if copies})

    def close(self) -> None:
        """Free the socket."""
        self._socket.close(0)


@pytest.fixture
def zmq_context() -> Iterator[Context]:
    """A context that does not linger."""
    context = zmq.Context()
    yield context
    context.destroy(0)


@pytest.fixture
def listen(zmq_context: Context) -> Iterator[Callable[[Engine], Listener]]:
    """Connects listeners and closes them."""
    listeners: list[Listener] = []

    def connect(engine: Engine) -> Listener:
        listeners.append(Listener(zmq_context, engine))
        return listeners[-1]

    yield connect
    for listener in listeners:
        listener.close()


@pytest.fixture
def replay(zmq_context: Context) -> Callable[[Engine, int], list[tuple[int, Batch]]]:
    """What the engine's ROUTER sends a DEALER that asks from a sequence on, up to the end marker."""

    def ask(engine: Engine, start_seq: int) -> list[tuple[int, Batch]]:
        received: list[tuple[int, Batch]] = []
        with zmq_context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(engine.address("replay_endpoint"))
            dealer.send_multipart(wire.replay_request(start_seq))
            while dealer.poll(int(TIMEOUT_S * 1000)):
                message = wire.parse_replay(dealer.recv_multipart())
                if isinstance(message, ReplayEnd):
                    return received
                received.append((message.seq, wire.decode_batch(message.payload)))
        raise AssertionError(f"no end marker after {len(received)} batches")

    return ask
