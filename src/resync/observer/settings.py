"""What an observer process is told at start: flags and the pod's environment, parsed once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resync.observer import errors
from resync.observer.absences import Allowances

LOOPBACK = "127.0.0.1"
DEFAULT_ALLOWANCES = Allowances()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this process is and which address it binds and dials from."""

    pod_name: str
    namespace: str
    bind_ip: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Identity":
        """The identity that the node set, or one that works outside a lab."""
        return cls(
            pod_name=environment.get("POD_NAME", "observer-local"),
            namespace=environment.get("POD_NAMESPACE", "default"),
            bind_ip=environment.get("POD_BIND_IP", LOOPBACK),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one process answers HTTP, for tests without a Kubernetes API."""

    name: str
    ip: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it. `static_gateways` and `static_engines` stand in for a Kubernetes API."""

    identity: Identity
    http_port: int = 9100
    kubeconfig: Path | None = None
    namespace: str = "default"
    gateway_selector: str = "app=gateway-plugins"
    engine_selector: str = "model.aibrix.ai/name"
    gateway_port: int = 8080
    static_gateways: tuple[Place, ...] = ()
    static_engines: tuple[Place, ...] = ()
    cut_every_s: float = 0.25
    survey_every_s: float = 1.0
    round_trip_every_s: float = 0.25
    ask_timeout_s: float = 2.0
    control_phase_timeout_s: float = 60.0
    allowances: Allowances = DEFAULT_ALLOWANCES

    @property
    def static(self) -> bool:
        """True when pods come from flags and no Kubernetes API is asked."""
        return bool(self.static_gateways or self.static_engines)


def parse_places(text: str, *, flag: str, default_port: int) -> tuple[Place, ...]:
    """`name=ip[:port]` items separated by commas. Raises BadSettingError naming the item that is not one."""
    return tuple(_place(item, flag, default_port) for item in text.split(",") if item)


def _place(item: str, flag: str, default_port: int) -> Place:
    name, _, address = item.partition("=")
    ip, _, port = address.partition(":")
    if not name or not ip or not (port or str(default_port)).isdigit():
        raise errors.BadSettingError(f"{flag} wants name=ip[:port],...; {item!r} is not name=ip[:port]")
    return Place(name=name, ip=ip, port=int(port or default_port))
