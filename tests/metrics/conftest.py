"""One real Prometheus with a remote-write receiver; each test writes under a run label of its own."""

import itertools
import re
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import requests

from resync.kits.waits import wait_until
from resync.metrics.access import PrometheusAccess
from resync.metrics.prometheus import Prometheus

T0 = 1_700_000_000.0
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
_LISTENING = re.compile(r'msg="Listening on".*address=(\S+)')

Points = Sequence[tuple[float, float]]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def encoded_series(labels: Mapping[str, str], points: Points) -> bytes:
    names = b"".join(
        field(1, field(1, key.encode()) + field(2, value.encode())) for key, value in sorted(labels.items())
    )
    samples = b"".join(
        field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(round(ts_s * 1000)))
        for ts_s, value in points
    )
    return field(1, names + samples)


def snappy_literals(raw: bytes) -> bytes:
    """A snappy block that compresses nothing: its length, then literal chunks."""
    out = bytearray(varint(len(raw)))
    for start in range(0, len(raw), 65536):
        chunk = raw[start : start + 65536]
        size = len(chunk) - 1
        if size < 60:
            out.append(size << 2)
        elif size < 256:
            out += bytes([60 << 2, size])
        else:
            out += bytes([61 << 2]) + size.to_bytes(2, "little")
        out += chunk
    return bytes(out)


class Bench:
    """A real server and a way to put exact samples into it. Times are seconds from T0."""

    def __init__(self, url: str, run: str) -> None:
        self.url = url
        self.run = run
        self.prometheus = Prometheus(PrometheusAccess(url=url))

    def write(self, name: str, points: Points, **labels: str) -> None:
        named = {"__name__": name, "run": self.run, **labels}
        body = encoded_series(named, [(T0 + offset_s, value) for offset_s, value in points])
        answer = requests.post(
            f"{self.url}/api/v1/write",
            data=snappy_literals(body),
            headers={
                "Content-Encoding": "snappy",
                "Content-Type": "application/x-protobuf",
                "X-Prometheus-Remote-Write-Version": "0.1.0",
            },
            timeout=5,
        )
        assert answer.ok, answer.text


@pytest.fixture(scope="session")
def prometheus_url(prometheus_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("prometheus")
    (home / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                prometheus_bin,
                f"--config.file={home}/prometheus.yml",
                f"--storage.tsdb.path={home}/data",
                "--web.listen-address=127.0.0.1:0",
                "--web.enable-remote-write-receiver",
                "--storage.tsdb.retention.time=100y",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        found = wait_until(
            lambda: _LISTENING.search((home / "log").read_text()), what="Prometheus to listen", timeout_s=20
        )
        assert found is not None
        url = f"http://{found[1]}"
        wait_until(
            lambda: requests.get(f"{url}/-/ready", timeout=2).ok, what="Prometheus to be ready", timeout_s=20
        )
        yield url
    finally:
        process.kill()
        process.wait()


_RUNS = itertools.count()


@pytest.fixture
def new_bench(prometheus_url: str) -> Iterator[Callable[[], Bench]]:
    """Benches on the one server, each with a run label that nobody else has."""
    made: list[Bench] = []

    def make() -> Bench:
        made.append(Bench(prometheus_url, f"run-{next(_RUNS)}"))
        return made[-1]

    yield make
    for bench in made:
        bench.prometheus.close()


@pytest.fixture
def bench(new_bench: Callable[[], Bench]) -> Bench:
    return new_bench()
