"""Completions asked of engines and of what stands before them, through the API server."""

from collections.abc import Sequence

from resync.cluster.completions import Completion, complete
from resync.cluster.connecting import Cluster
from resync.cluster.pods import Pod, list_pods
from resync.run.errors import UnmeasuredError
from resync.run.settings import Settings

MODEL, PORT = "model.aibrix.ai/name", "model.aibrix.ai/port"
ENGINE_PORT = 8000


class Fronts:
    """Who can be asked. Methods raise ClusterError, UnmeasuredError; whoever calls makes it one of a run."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._engines: dict[str, Pod] = {}
        self._front: Pod | None = None

    def complete(self, prompt: Sequence[int], engine: str | None) -> Completion:
        """One completion of that engine, or of the front.

        Pods are looked up once: the API server finds the address by the name each time.
        """
        if not self._engines:
            self._look()
        if engine is not None and engine not in self._engines:
            raise UnmeasuredError(f"{engine} is not there", next_step="wait until every engine runs")
        pod = self._front if engine is None else self._engines[engine]
        if pod is None:
            front = self._settings.front
            raise UnmeasuredError(
                f"no pod in {front.namespace} matches {front.selector}", next_step="correct RESYNC_FRONT"
            )
        port = self._settings.front.port if engine is None else _port(pod)
        model = _model(next(iter(self._engines.values())) if engine is None else pod)
        return complete(self._cluster, pod, port, model=model, prompt=prompt)

    def _look(self) -> None:
        settings = self._settings
        engines = list_pods(self._cluster, settings.namespace, settings.engine_selector)
        self._engines = {pod.pod_key: pod for pod in engines}
        fronts = list_pods(self._cluster, settings.front.namespace, settings.front.selector)
        self._front = next((pod for pod in fronts if pod.phase == "Running" and not pod.deleting), None)


def _model(pod: Pod) -> str:
    # A name with a slash fits no label.
    return pod.labels.get(MODEL) or pod.annotations.get(MODEL, "")


def _port(pod: Pod) -> int:
    said = pod.labels.get(PORT, "")
    return int(said) if said.isdigit() else ENGINE_PORT
