"""The pods of the lab, as the objects that are sent to the Kubernetes API.

One table says what each role is; docs/interfaces.md section 1 is the contract it follows. Engines and gateway
are StatefulSets: a pod that is killed comes back under its name, and its address follows from its number.
Addresses are part of the manifest (`resync.dev/address`), because Prometheus must know its targets before the
pods exist.
"""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from resync.lab.addresses import Block
from resync.lab.metadata import ADDRESS
from resync.lab.prometheus import Target

NAMESPACE = "default"
MODEL = "llama2-7b"
ROLE_LABEL = "resync.dev/role"
GRACE_S = 2


class LabOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a lab differs from the usual one."""

    engines: int = 3
    seed: int = 0
    engine_cmd: str | None = None
    gateway_cmd: str | None = None
    engine_args: tuple[str, ...] = ()
    gateway_args: tuple[str, ...] = ()
    load_args: tuple[str, ...] = ()
    load: bool = True
    deaf_link: bool = False
    idle_mesh: bool = False

    @property
    def index_view(self) -> bool:
        """Whether the gateway shows its index, so that it can be asked and audited."""
        return "--no-index-view" not in self.gateway_args

    @property
    def foreign(self) -> bool:
        """Whether a program that is not ours stands in for engines or gateway: it owes us nothing."""
        return self.engine_cmd is not None or self.gateway_cmd is not None

    def command_for(self, role: "Role") -> str | None:
        """The shell command that stands in for the role's own program."""
        return {ENGINE.name: self.engine_cmd, GATEWAY.name: self.gateway_cmd}.get(role.name)


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of pod. `first_address` is the last octet of its first pod; ports are (name, number)."""

    name: str
    module: str
    first_address: int
    ports: tuple[tuple[str, int], ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    owned: bool = False
    """Whether its pods are those of a StatefulSet, so that one that is killed comes back under its name."""

    @property
    def http_port(self) -> int:
        """Where it answers /health and /metrics."""
        return dict(self.ports)["http"]


ENGINE = Role(
    "engine",
    "resync.engine",
    10,
    (("http", 8000), ("kv-events", 5557), ("kv-replay", 5558)),
    MappingProxyType(
        {
            "app": "vllm",
            "model.aibrix.ai/name": MODEL,
            "model.aibrix.ai/port": "8000",
            "model.aibrix.ai/kv-events-enabled": "true",
        }
    ),
    owned=True,
)
GATEWAY = Role("gateway", "resync.gateway", 110, (("http", 8080),), {"app": "gateway-plugins"}, owned=True)
OBSERVER = Role("observer", "resync.observer", 130, (("http", 9100),), {"app": "resync-observer"})
LOAD = Role("load", "resync.load", 140, (("http", 9101),), {"app": "resync-load"})
ROLES = (ENGINE, GATEWAY, OBSERVER, LOAD)
ENGINES_MAX = 90
PORTS = sorted({number for role in ROLES for _, number in role.ports})


@dataclass(frozen=True, slots=True)
class PodPlan:
    """One pod before it exists."""

    role: Role
    number: int
    args: tuple[str, ...]
    block: Block
    foreign_cmd: str | None = None

    @property
    def name(self) -> str:
        """The pod's name."""
        return f"{self.role.name}-{self.number}"

    @property
    def ip(self) -> str:
        """The address it will advertise."""
        return self.block.pod_ip(self.role.first_address + self.number)

    @property
    def url(self) -> str:
        """Where it answers HTTP."""
        return f"http://{self.ip}:{self.role.http_port}"

    @property
    def target(self) -> Target:
        """Where Prometheus scrapes it."""
        return Target(self.role.name, f"{self.ip}:{self.role.http_port}", self.name)

    def manifest(self, env: Mapping[str, str]) -> dict[str, object]:
        """The Pod object; `env` goes into its container."""
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "labels": {**self.role.labels, ROLE_LABEL: self.role.name},
                "annotations": {ADDRESS: self.ip},
            },
            "spec": {
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": GRACE_S,
                "containers": [self._container(env)],
            },
        }

    def _container(self, env: Mapping[str, str]) -> dict[str, object]:
        return {
            "name": self.role.name,
            "image": "resync",
            "command": self._command,
            "args": list(self.args),
            "ports": [{"name": name, "containerPort": number} for name, number in self.role.ports],
            "env": [{"name": name, "value": value} for name, value in {**env, **self._told}.items()],
            "readinessProbe": {**self._probe, "periodSeconds": 1, "timeoutSeconds": 2},
        }

    @property
    def _command(self) -> list[str]:
        if self.foreign_cmd is not None:
            return ["/bin/sh", "-c", self.foreign_cmd]
        return [sys.executable, "-m", self.role.module]

    @property
    def _told(self) -> dict[str, str]:
        """The ports, for a program that does not know its role: PORT_HTTP, PORT_KV_EVENTS, PORT_KV_REPLAY."""
        if self.foreign_cmd is None:
            return {}
        return {f"PORT_{name.upper().replace('-', '_')}": str(number) for name, number in self.role.ports}

    @property
    def _probe(self) -> dict[str, object]:
        """A foreign program may not know /health; that it listens is all there is to ask."""
        if self.foreign_cmd is not None:
            return {"tcpSocket": {"port": self.role.http_port}}
        return {"httpGet": {"path": "/health", "port": self.role.http_port}}


def objects_of(pods: Sequence[PodPlan], env: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """What is created for these pods, `env` in each: one StatefulSet a role that has one, else the pods."""
    for role, group in itertools.groupby(pods, lambda pod: pod.role):
        manifests = [pod.manifest(env) for pod in group]
        if role.owned:
            yield _stateful_set(role, manifests[0], len(manifests))
        else:
            yield from manifests


def _stateful_set(role: Role, first: Mapping[str, Any], replicas: int) -> dict[str, object]:
    """The set whose pods are all like the first; the address each has follows from its number."""
    labels, annotations = first["metadata"]["labels"], first["metadata"]["annotations"]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": role.name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": replicas,
            "serviceName": role.name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {ROLE_LABEL: role.name}},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": first["spec"],
            },
        },
    }


def pods_of(options: LabOptions, block: Block) -> tuple[PodPlan, ...]:
    """Every pod of a lab with those options, engines first."""
    return tuple(
        PodPlan(role, number, args, block, options.command_for(role))
        for role, number, args in _parts(options, block)
    )


def _parts(options: LabOptions, block: Block) -> Iterator[tuple[Role, int, tuple[str, ...]]]:
    seed = ("--seed", str(options.seed)) if options.engine_cmd is None else ()
    for number in range(options.engines):
        yield ENGINE, number, (*seed, *options.engine_args)
    yield GATEWAY, 0, options.gateway_args
    yield OBSERVER, 0, ()
    if options.load:
        yield LOAD, 0, (*_whom_to_load(options, block), "--seed", str(options.seed), *options.load_args)


def _whom_to_load(options: LabOptions, block: Block) -> tuple[str, ...]:
    engines = (PodPlan(ENGINE, number, (), block) for number in range(options.engines))
    addresses = ",".join(engine.target.address for engine in engines)
    return "--gateway", PodPlan(GATEWAY, 0, (), block).url, "--engines", addresses


def targets_of(pods: Sequence[PodPlan]) -> list[Target]:
    """What Prometheus has to scrape."""
    return [pod.target for pod in pods]
