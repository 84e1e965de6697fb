import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resync.kits.clocks import SystemClock
from resync.kits.waits import WaitTimeoutError, wait_until_async
from resync.lab.api.process import ApiProcess, start_api
from resync.lab.kube import (
    EVENTS,
    NAMESPACES,
    NETWORK_CHAOS,
    POD_CHAOS,
    POD_NETWORK_CHAOS,
    PODS,
    Kube,
    NotFoundError,
    Object,
    Resource,
    Verb,
)
from resync.lab.mesh import run_mesh
from resync.lab.node.errors import DaemonError, NoSuchPodError
from resync.lab.node.vocabulary import Chain, IPSet, Tc

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "recordings" / "chaos-mesh"
PODS_OF_RECORDING = {"a-0": ("a", "10.1.0.10"), "a-1": ("a", "10.1.0.11"), "b-0": ("b", "10.1.0.12")}
PAUSE = "experiment.chaos-mesh.org/pause"
PATIENCE_S = 30.0
"""How long what must come is waited for; nothing is claimed about it, and it outlasts a fault of 9 s."""


@dataclass
class Daemon:
    """A node daemon that writes down what it is asked, and fails when told to."""

    asked: list[tuple[str, Object]] = field(default_factory=list)
    killed: list[tuple[str, str]] = field(default_factory=list)
    fails: str = ""
    unknown: bool = False

    async def set_network(
        self, pod_uid: str, ipsets: Sequence[IPSet], chains: Sequence[Chain], tcs: Sequence[Tc]
    ) -> None:
        if self.unknown:
            raise NoSuchPodError("down")
        if self.fails:
            raise DaemonError(self.fails)
        parts = {"ipsets": ipsets, "chains": chains, "tcs": tcs}
        self.asked.append(
            (pod_uid, {name: sent(msgspec.to_builtins(value)) for name, value in parts.items()})
        )

    async def kill_container(self, pod_uid: str, container: str) -> None:
        if self.fails:
            raise DaemonError(self.fails)
        self.killed.append((pod_uid, container))


ZERO_VALUES = (("type", "NETEM"), ("direction", "INPUT"))


def sent(value: Any) -> Any:
    """What the protocol would send: no empty parts, tuples as lists."""
    if isinstance(value, dict):
        named = {name: sent(inner) for name, inner in value.items() if inner or name in ("tcs", "ipsets")}
        return {name: inner for name, inner in named.items() if (name, inner) not in ZERO_VALUES}
    return [sent(inner) for inner in value] if isinstance(value, list | tuple) else value


@dataclass
class Field:
    """A namespace of its own with pods, a running mesh, and everything that happened to its objects."""

    kube: Kube
    daemon: Daemon
    namespace: str
    kubeconfig: Path
    uids: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, Resource] = field(default_factory=dict)
    seen: dict[str, list[Object]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    async def pod(self, name: str, label: str, ip: str) -> None:
        body = {
            "metadata": {"name": name, "labels": {"app": label}},
            "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "example/app:1"}]},
        }
        made = await self.kube.create(PODS, self.namespace, body)
        self.uids[made["metadata"]["uid"]] = name
        status = {"status": {"phase": "Running", "podIP": ip}}
        await self.kube.patch(PODS, self.namespace, name, status, subresource="status")

    async def create(
        self,
        name: str,
        spec: Object,
        annotations: dict[str, str] | None = None,
        *,
        kind: Resource = NETWORK_CHAOS,
    ) -> None:
        self.kinds[name] = kind
        await self.kube.create(
            kind,
            self.namespace,
            {"metadata": {"name": name, "annotations": annotations or {}}, "spec": spec},
        )

    async def chaos(self, name: str) -> Object:
        return await self.kube.get(self.kinds[name], self.namespace, name)

    async def until(
        self, name: str, holds: Callable[[Object], bool], *, what: str, timeout_s: float = PATIENCE_S
    ) -> Object:
        async def look() -> Object | None:
            found = await self.chaos(name)
            return found if holds(found) else None

        found = await wait_until_async(look, what=f"{name}: {what}", timeout_s=timeout_s, every_s=0.02)
        assert found is not None
        return found

    async def until_condition(self, name: str, *conditions: str, timeout_s: float = PATIENCE_S) -> Object:
        return await self.until(
            name,
            lambda found: set(conditions) <= set(true_conditions(found)),
            what=f"{conditions} to be true",
            timeout_s=timeout_s,
        )

    async def until_seen(self, name: str, condition: str, *, timeout_s: float) -> None:
        """Until some state it was seen in had that condition. Asks the API nothing: many can wait at once."""
        key = f"{self.kinds[name].plural}/{name}"

        async def look() -> bool:
            return any(condition in true_conditions(state) for state in self.seen.get(key, []))

        try:
            await wait_until_async(look, what=condition, timeout_s=timeout_s, every_s=0.05)
        except WaitTimeoutError as error:
            last = self.seen.get(key, [None])[-1]
            raise AssertionError(f"{name} was never {condition}; the last of it: {last}") from error

    async def pause(self, name: str, *, paused: bool) -> None:
        patch = {"metadata": {"annotations": {PAUSE: "true" if paused else None}}}
        await self.kube.patch(self.kinds[name], self.namespace, name, patch)

    async def delete(self, name: str) -> None:
        await self.kube.delete(self.kinds[name], self.namespace, name)
        await self.until_gone(name)

    def states(self, name: str) -> list[Object]:
        """Every state the experiment was seen in."""
        return self.seen[f"{self.kinds[name].plural}/{name}"]

    async def until_gone(self, name: str) -> None:
        """Until it is gone, and whoever follows has been told so: nothing more will be seen of it."""

        async def gone() -> bool:
            try:
                await self.chaos(name)
            except NotFoundError:
                return f"{self.kinds[name].plural}/{name}" in self.ended
            return False

        await wait_until_async(gone, what=f"{name} to be gone", timeout_s=PATIENCE_S, every_s=0.02)

    async def cluster_events(self, name: str) -> list[Object]:
        items, _ = await self.kube.list(EVENTS, self.namespace)
        mine = [item for item in items if item["involvedObject"]["name"] == name]
        return sorted(mine, key=lambda item: str(item["metadata"]["name"]))

    async def until_told(
        self, name: str, holds: Callable[[list[Object]], bool], *, what: str
    ) -> list[Object]:
        """The events about it, once they hold: they are written beside its status, not with it."""

        async def look() -> list[Object] | None:
            events = await self.cluster_events(name)
            return events if holds(events) else None

        found = await wait_until_async(look, what=f"{name}: {what}", timeout_s=PATIENCE_S, every_s=0.02)
        assert found is not None
        return found

    def asked(self, pod: str) -> list[Object]:
        """What the daemon was asked about a pod, repetitions left out."""
        asked = [request for uid, request in self.daemon.asked if self.uids.get(uid) == pod]
        return dedupe(asked)

    @property
    def own_requests(self) -> list[Object]:
        """What the daemon was asked about pods of this namespace.

        A mesh also speaks for what it finds elsewhere.
        """
        return [request for uid, request in self.daemon.asked if uid in self.uids]

    async def follow(self, resource: Resource, ready: asyncio.Event) -> None:
        async for change in self.kube.follow(resource):
            if change.verb is Verb.SYNCED:
                ready.set()
            elif change.object["metadata"].get("namespace") == self.namespace:
                key = f"{resource.plural}/{change.object['metadata']['name']}"
                self.seen.setdefault(key, []).append(change.object)
                if change.verb is Verb.DELETED:
                    self.ended.add(key)


def true_conditions(found: Object) -> list[str]:
    conditions = (found.get("status") or {}).get("conditions") or []
    return [condition["type"] for condition in conditions if condition["status"] == "True"]


def dedupe(values: Sequence[Any]) -> list[Any]:
    """The values without immediate repetitions."""
    return [value for index, value in enumerate(values) if index == 0 or values[index - 1] != value]


@asynccontextmanager
async def field_of(
    api: ApiProcess,
    namespace: str,
    *,
    opted_in: bool = True,
    run: bool = True,
    daemon: Daemon | None = None,
) -> AsyncIterator[Field]:
    daemon = daemon or Daemon()
    async with Kube.connect(api.kubeconfig) as kube, asyncio.TaskGroup() as tasks:
        annotations = {"chaos-mesh.org/inject": "enabled"} if opted_in else {}
        await kube.create(NAMESPACES, None, {"metadata": {"name": namespace, "annotations": annotations}})
        found = Field(kube, daemon, namespace, api.kubeconfig)
        for name, (label, ip) in PODS_OF_RECORDING.items():
            await found.pod(name, label, ip)
        followed = (NETWORK_CHAOS, POD_CHAOS, POD_NETWORK_CHAOS, PODS)
        ready = [asyncio.Event() for _ in followed]
        background = [
            tasks.create_task(found.follow(resource, event))
            for resource, event in zip(followed, ready, strict=True)
        ]
        if run:
            mesh = run_mesh(api.kubeconfig, daemon, clock=SystemClock(), seed=1)
            background.append(tasks.create_task(mesh))
        for event in ready:
            await event.wait()
        yield found
        for task in background:
            task.cancel()


class Rig:
    """What tests of the mesh share; a fixture, because test folders are not importable."""

    field = staticmethod(field_of)
    daemon = Daemon
    dedupe = staticmethod(dedupe)
    recordings = RECORDINGS
    true_conditions = staticmethod(true_conditions)

    def recorded(self, file: str) -> list[Object]:
        path = RECORDINGS / file
        if not path.exists():
            pytest.skip("the recordings of the real controller are not here (../shared/recordings)")
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with start_api(tmp_path_factory.mktemp("api")) as process:
        yield process


@pytest.fixture(scope="session")
def rig() -> Rig:
    return Rig()
