"""A running lab as it is seen from outside: metrics pages, the data path, faults on one engine, more load."""

import http.client
import json
import math
import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from resync.cluster.appliedfaults import AppliedFault
from resync.cluster.connecting import Cluster
from resync.cluster.faults import apply
from resync.cluster.loads import Surge, begin, end
from resync.cluster.manifests import load_manifest, override
from resync.cluster.pods import Pod, list_pods
from resync.cluster.selectors import Selector
from resync.lab.handle import LabHandle

ROOT = Path(__file__).parents[1]
SLOW_S = 0.06
STANDS_S = 60.0
ENGINE, GATEWAY, LOAD = "engine-1", "gateway-0", "load-0"

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """One metrics page of a pod, and when it was read (monotonic seconds)."""

    at_s: float
    samples: Mapping[tuple[str, Labels], float]

    @classmethod
    def read(cls, url: str) -> "Page":
        """As it is now."""
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310 - loopback
            text = answer.read().decode()
        samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        return cls(time.monotonic(), samples)

    def value(self, name: str, **labels: str) -> float:
        """The value of one series."""
        return self.samples[name, frozenset(labels.items())]

    def total(self, name: str) -> float:
        """The sum over all series of a family."""
        return sum(value for (found, _), value in self.samples.items() if found == name)

    def buckets(self, name: str) -> dict[float, float]:
        """Observations at or below each bound, over all series of a histogram."""
        counted: dict[float, float] = {}
        for (found, labels), value in self.samples.items():
            if found == f"{name}_bucket":
                bound = float(dict(labels)["le"])
                counted[bound] = counted.get(bound, 0.0) + value
        return counted


@dataclass(frozen=True)
class Bench:
    """A running lab and what is asked of it."""

    cluster: Cluster
    pods: Mapping[str, Pod]

    @classmethod
    def of(cls, lab: LabHandle, cluster: Cluster) -> "Bench":
        """Of that lab."""
        return cls(cluster, {pod.name: pod for pod in list_pods(cluster, lab.namespace)})

    def page(self, pod: str, port: int) -> Page:
        """The metrics of a pod."""
        return Page.read(f"http://{self.pods[pod].ip}:{port}")

    def applied(self) -> float:
        """The sequence the gateway has applied of the engine."""
        key = self.pods[ENGINE].pod_key
        return self.page(GATEWAY, 8080).value("resync_gateway_applied_sequence", pod_key=key)

    def begun(self, kind: str) -> AppliedFault:
        """The fault of that experiment on the one engine, created and not waited for."""
        one = Selector(pods={self.pods[ENGINE].namespace: (ENGINE,)})
        manifest = load_manifest(ROOT / "chaos-mesh" / f"{kind}.yaml")
        source, target = (one, None) if manifest.target is None else (None, one)
        aimed = override(
            manifest,
            name=f"{kind}-bench",
            duration_s=STANDS_S,
            jitter_ms=0 if kind == "network-delay" else None,
            source_selector=source,
            target_selector=target,
        )
        return apply(self.cluster, aimed, run_id="bench")

    def behind(self) -> float:
        """Batches the engine has published and the gateway not applied."""
        with urllib.request.urlopen(f"http://{self.pods[ENGINE].ip}:8000/truth", timeout=5) as answer:
            published: float = json.load(answer)["published_seq"]
        return published - self.applied()

    @contextmanager
    def surge(self, rate: float, for_s: float) -> Iterator[None]:
        """More load while the `with` lasts."""
        begin(self.cluster, self.pods[LOAD], Surge(run="bench", rate=rate, prefix_share=0.3, for_s=for_s))
        try:
            yield
        finally:
            end(self.cluster, self.pods[LOAD])


@dataclass(frozen=True)
class DataPath:
    """From the gateway's own address to the engine, as the gateway goes."""

    source: str
    engine: str

    @classmethod
    def of(cls, pods: Mapping[str, Pod]) -> "DataPath":
        """The own address of a pod is beside the one it is known by."""
        a, b, _, n = str(pods[GATEWAY].ip).split(".")
        return cls(f"{a}.{b}.1.{n}", str(pods[ENGINE].ip))

    def round_trip_s(self) -> float:
        """Of one small request over a new connection; infinite when there is no answer."""
        connection = http.client.HTTPConnection(self.engine, 8000, timeout=1, source_address=(self.source, 0))
        began_s = time.monotonic()
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return math.inf
        finally:
            connection.close()
        return time.monotonic() - began_s

    def slow(self) -> bool:
        """Whether 50 ms are on the way in each direction."""
        return self.round_trip_s() > SLOW_S

    def unreachable(self) -> bool:
        """Whether no connection comes about."""
        try:
            with socket.create_connection((self.engine, 8000), SLOW_S, source_address=(self.source, 0)):
                return False
        except OSError:
            return True

    def silent(self) -> bool:
        """Whether nobody answers for the engine: the process is gone, the address is not."""
        return math.isinf(self.round_trip_s())
