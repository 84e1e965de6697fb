"""What is put into the Kubernetes API of a new lab. The mesh's kinds are there already: it brings them."""

from collections.abc import Mapping, Sequence

from resync.lab.kube import NAMESPACES, PODS, Kube
from resync.lab.manifests import NAMESPACE, PodPlan

_OPTED_IN = {"metadata": {"annotations": {"chaos-mesh.org/inject": "enabled"}}}


async def open_namespace(kube: Kube) -> None:
    """The namespace opts in to faults. Raises KubeError."""
    await kube.patch(NAMESPACES, None, NAMESPACE, _OPTED_IN)


async def create_pods(kube: Kube, pods: Sequence[PodPlan], env: Mapping[str, str]) -> None:
    """Create every pod; `env` goes into each. Raises KubeError."""
    for pod in pods:
        await kube.create(PODS, NAMESPACE, pod.manifest(env))
