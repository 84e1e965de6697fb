"""What is put into an empty Kubernetes API to make it a lab: the mesh's kinds, the namespace, the pods."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from resync.kits.waits import wait_until_async
from resync.lab.apiclient import ApiCallError, LabApi
from resync.lab.errors import LabStartError
from resync.lab.manifests import NAMESPACE, PodPlan

CRDS = Path(__file__).parent / "crds"
SERVED_TIMEOUT_S = 10.0
_CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_OPTED_IN = {"metadata": {"annotations": {"chaos-mesh.org/inject": "enabled"}}}
_NOT_FOUND = 404
_EXISTS = 409


async def install_kinds(api: LabApi, directory: Path = CRDS) -> None:
    """Create every definition in the directory and wait until the API serves the kind.

    Raises LabStartError when there is none, ApiCallError, WaitTimeoutError.
    """
    async with asyncio.TaskGroup() as tasks:
        for manifest in _definitions(directory):
            tasks.create_task(_install_kind(api, manifest))


def _definitions(directory: Path) -> list[dict[str, dict[str, object]]]:
    # The loader in C where there is one: the definitions are long, and the one in Python takes a second.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = [yaml.load(path.read_text(), loader) for path in sorted(directory.glob("*.yaml"))]  # noqa: S506  # both are safe loaders
    if not found:
        raise LabStartError(f"no kinds of the mesh are in {directory}: the installation is incomplete")
    return found


async def _install_kind(api: LabApi, manifest: dict[str, dict[str, object]]) -> None:
    await api.create(_CRD_PATH, manifest)
    await wait_until_async(
        lambda: _is_served(api, manifest["spec"]),
        what=f"the API to serve {manifest['metadata']['name']}",
        timeout_s=SERVED_TIMEOUT_S,
    )


async def _is_served(api: LabApi, spec: Mapping[str, object]) -> bool:
    match spec:
        case {"group": group, "versions": [{"name": version}, *_], "names": {"plural": plural}}:
            pass
        case _:
            raise LabStartError(f"a definition of the mesh's kinds is incomplete: {spec!r:.200}")
    try:
        await api.get(f"/apis/{group}/{version}/{plural}")
    except ApiCallError as error:
        if error.status == _NOT_FOUND:
            return False
        raise
    return True


async def open_namespace(api: LabApi) -> None:
    """The namespace exists and has opted in to faults. Raises ApiCallError."""
    try:
        await api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    except ApiCallError as error:
        if error.status != _EXISTS:
            raise
    await api.merge(f"/api/v1/namespaces/{NAMESPACE}", _OPTED_IN)


async def create_pods(api: LabApi, pods: Sequence[PodPlan], env: Mapping[str, str]) -> None:
    """Create every pod; `env` goes into each. Raises ApiCallError."""
    for pod in pods:
        await api.create(f"/api/v1/namespaces/{NAMESPACE}/pods", pod.manifest(env))
