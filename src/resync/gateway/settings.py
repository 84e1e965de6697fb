"""What a gateway process is told at start: flags and the pod's environment, parsed once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resync.gateway import errors
from resync.kvsync.configuration import Configuration

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this process is and which address it binds and dials from."""

    pod_name: str
    namespace: str
    bind_ip: str

    @property
    def pod_key(self) -> str:
        """`<namespace>/<pod name>`."""
        return f"{self.namespace}/{self.pod_name}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Identity":
        """The identity that the node set, or one that works outside a lab."""
        return cls(
            pod_name=environment.get("POD_NAME", "gateway-local"),
            namespace=environment.get("POD_NAMESPACE", "default"),
            bind_ip=environment.get("POD_BIND_IP", LOOPBACK),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When an event connection counts as dead (libzmq's heartbeats), and how long a replay may take to begin.

    Each must exceed what a delayed network needs: one round trip for a heartbeat, about four for a replay.
    """

    heartbeat_interval_s: float = 2.0
    heartbeat_timeout_s: float = 10.0
    connect_timeout_s: float = 10.0
    replay_timeout_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthTiming:
    """How often an engine is asked for its health, and when silence counts as no answer."""

    every_s: float = 0.15
    """On average. Between two scrapes of the lab (250 ms) lies the end of one even after the longest gap."""

    timeout_s: float = 1.0
    failures_max: int = 2
    """Unanswered checks in a row after which the engine gets no requests."""


PATIENT = Patience()
SYNCED = Configuration(remote_tokenizer=True, kv_sync_requested=True)
HEALTH_TIMING = HealthTiming()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it. `static_engines` are `(name, ip)` pairs used in place of a Kubernetes API."""

    identity: Identity
    http_port: int = 8080
    kubeconfig: Path | None = None
    namespace: str = "default"
    engine_selector: str = "model.aibrix.ai/name"
    static_engines: tuple[tuple[str, str], ...] = ()
    static_model: str = "llama2-7b"
    block_size: int = 16
    configuration: Configuration = SYNCED
    index_view: bool = True
    patience: Patience = PATIENT
    health: HealthTiming = HEALTH_TIMING
    request_timeout_s: float = 60.0
    connect_timeout_s: float = 2.0


def parse_static_engines(text: str) -> tuple[tuple[str, str], ...]:
    """`name=ip` pairs separated by commas. Raises BadSettingError naming the pair that is not one."""
    pairs = []
    for item in filter(None, text.split(",")):
        name, _, ip = item.partition("=")
        if not name or not ip:
            raise errors.BadSettingError(f"--static-engines wants name=ip,name=ip; {item!r} is not name=ip")
        pairs.append((name, ip))
    return tuple(pairs)
