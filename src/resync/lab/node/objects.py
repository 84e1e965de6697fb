"""The fields of a Pod this node acts on, as typed records (Kubernetes API, core/v1)."""

from datetime import UTC, datetime

import msgspec

INDEX_LABEL = "apps.kubernetes.io/pod-index"


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of a Pod as the API writes it."""


class Metadata(_Part, frozen=True, kw_only=True):
    """What every object has."""

    name: str
    namespace: str = "default"
    uid: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: datetime = datetime.fromtimestamp(0, UTC)
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None


class EnvVar(_Part, frozen=True, kw_only=True):
    """One variable; `valueFrom` is not something this node does."""

    name: str
    value: str = ""
    value_from: dict[str, object] | None = None


class Port(_Part, frozen=True, kw_only=True):
    """A port the container listens on."""

    container_port: int
    name: str = ""


class HttpGet(_Part, frozen=True, kw_only=True):
    """Where a probe asks; the port is a number or the name of a declared one."""

    port: int | str
    path: str = "/"


class TcpSocket(_Part, frozen=True, kw_only=True):
    """Where a probe connects; the port is a number or the name of a declared one."""

    port: int | str


class Probe(_Part, frozen=True, kw_only=True):
    """A readiness probe; Kubernetes' defaults."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    period_seconds: int = 10
    timeout_seconds: int = 1
    failure_threshold: int = 3


class Container(_Part, frozen=True, kw_only=True):
    """The pod's program."""

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    ports: tuple[Port, ...] = ()
    working_dir: str | None = None
    readiness_probe: Probe | None = None


class Spec(_Part, frozen=True, kw_only=True):
    """What should run."""

    containers: tuple[Container, ...]
    node_name: str = ""
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30


class ContainerStatus(_Part, frozen=True, kw_only=True):
    """What an earlier life of this node said about the container."""

    restart_count: int = 0


class Status(_Part, frozen=True, kw_only=True):
    """What an earlier life of this node said about the pod."""

    phase: str = "Pending"
    pod_ip: str = msgspec.field(name="podIP", default="")
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(_Part, frozen=True, kw_only=True):
    """A pod as the node sees it."""

    metadata: Metadata
    spec: Spec
    status: Status = Status()

    @property
    def container(self) -> Container:
        """The one container that runs; a second one is refused elsewhere."""
        return self.spec.containers[0]

    @property
    def index(self) -> int:
        """Its number in its StatefulSet; 0 where it has none."""
        label = self.metadata.labels.get(INDEX_LABEL, "")
        return int(label) if label.isdecimal() else 0

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
