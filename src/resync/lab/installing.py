"""What makes an empty Kubernetes API a lab: the mesh's kinds, an open namespace, the pods.

All of it goes through the API, so the same steps prepare a real control plane.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import resources
from typing import Any

import msgspec
import yaml

from resync.kits.waits import wait_until_async
from resync.lab.errors import LabStartError
from resync.lab.kube import (
    DEFINITIONS,
    NAMESPACES,
    PODS,
    STATEFUL_SETS,
    ConflictError,
    Kube,
    NotFoundError,
    Resource,
)
from resync.lab.manifests import NAMESPACE, PodPlan, objects_of

SERVED_TIMEOUT_S = 10.0
_OPTED_IN = {"metadata": {"annotations": {"chaos-mesh.org/inject": "enabled"}}}


class _Names(msgspec.Struct, frozen=True):
    kind: str
    plural: str


class _Version(msgspec.Struct, frozen=True):
    name: str


class _Spec(msgspec.Struct, frozen=True):
    group: str
    names: _Names
    versions: list[_Version]

    @property
    def resource(self) -> Resource:
        return Resource(f"{self.group}/{self.versions[0].name}", self.names.kind, self.names.plural)


async def install_kinds(kube: Kube) -> None:
    """Create the definitions of the mesh's kinds and wait until the API serves them.

    Raises:
        LabStartError: the installation holds none.
        KubeError, WaitTimeoutError: the API refused one, or does not serve it.
    """
    async with asyncio.TaskGroup() as tasks:
        for manifest in _definitions():
            tasks.create_task(_install_kind(kube, manifest))


def _definitions() -> list[dict[str, Any]]:
    # The loader in C where there is one: definitions are long, and the one in Python takes its time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    files = [entry for entry in resources.files("resync.lab.crds").iterdir() if entry.name.endswith(".yaml")]
    if not files:
        raise LabStartError("the mesh's kinds are not in this installation of resync: install it again")
    return [yaml.load(entry.read_text(), loader) for entry in files]  # noqa: S506  # both loaders are safe


async def _install_kind(kube: Kube, manifest: dict[str, Any]) -> None:
    # The lab's own server brings the kinds along; a real one starts without. Whether they are served is asked
    # of both.
    with suppress(ConflictError):
        await kube.create(DEFINITIONS, None, manifest)
    resource = msgspec.convert(manifest["spec"], _Spec).resource
    await wait_until_async(
        lambda: _is_served(kube, resource),
        what=f"the API to serve {resource.kind}",
        timeout_s=SERVED_TIMEOUT_S,
    )


async def _is_served(kube: Kube, resource: Resource) -> bool:
    try:
        await kube.list(resource, NAMESPACE)
    except NotFoundError:
        return False
    return True


async def open_namespace(kube: Kube) -> None:
    """The namespace opts in to faults. Raises KubeError."""
    await kube.patch(NAMESPACES, None, NAMESPACE, _OPTED_IN)


async def create_pods(kube: Kube, pods: Sequence[PodPlan], env: Mapping[str, str]) -> None:
    """Create every pod, or the set it is of; `env` goes into each. Raises KubeError."""
    for manifest in objects_of(pods, env):
        resource = PODS if manifest["kind"] == PODS.kind else STATEFUL_SETS
        await kube.create(resource, NAMESPACE, manifest)
