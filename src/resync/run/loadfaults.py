"""A surge of load as the fault of a run: planned, begun, looked at, ended and found like any other."""

import msgspec

from resync.cluster import loads
from resync.cluster.connecting import Cluster
from resync.cluster.pods import Pod, list_pods
from resync.kits.clocks import SystemClock
from resync.kits.reading import read_json
from resync.run.errors import RefusedError
from resync.run.settings import Settings
from resync.run.worlds import FaultPlan, Hit, Injected, LeftBehind

KIND, ACTION = "Load", "surge"


class LoadFaults:
    """Surges in one namespace. Methods raise ClusterError; whoever calls makes it one of a run."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings

    def plan(self, run_id: str) -> FaultPlan:
        """The surge of that run, as the settings say."""
        settings = self._settings
        surge = loads.Surge(
            run=run_id,
            rate=settings.surge_rate,
            prefix_share=settings.surge_prefix_share,
            for_s=settings.fault_duration_s,
        )
        return FaultPlan(
            name=f"surge-{run_id}",
            namespace=settings.namespace,
            plural="surges",
            fault_kind=KIND,
            action=ACTION,
            duration_s=surge.for_s,
            run=run_id,
            manifest=msgspec.json.encode(surge),
        )

    def hit(self) -> Hit:
        """The load that would surge. Raises RefusedError unless there is exactly one."""
        pods = self._pods()
        if len(pods) != 1:
            raise RefusedError(
                f"{len(pods)} loads match {self._settings.load_selector}: a surge is one load's",
                next_step="correct RESYNC_LOAD_SELECTOR, or start one load",
            )
        return Hit((pods[0].pod_key,), ())

    def inject(self, plan: FaultPlan) -> Injected:
        """Begin it. Its end is counted from before it was asked for, so it is never taken for longer."""
        asked_s = SystemClock().wall_s()
        surge = read_json(plan.manifest, loads.Surge)
        pods = self._pods()
        for pod in pods:
            loads.begin(self._cluster, pod, surge)
        return Injected(asked_s, asked_s + surge.for_s, tuple(pod.pod_key for pod in pods))

    def present(self, plan: FaultPlan) -> bool:
        """Whether every load is in the surge of that run."""
        found = [loads.standing(self._cluster, pod) for pod in self._pods()]
        return bool(found) and all(one is not None and one.asked.run == plan.run for one in found)

    def end(self, run_id: str) -> None:
        """End the surges of that run, and wait for nothing: the answer is that they have ended."""
        for pod in self._pods():
            found = loads.standing(self._cluster, pod)
            if found is not None and found.asked.run == run_id:
                loads.end(self._cluster, pod)

    def left_behind(self) -> list[LeftBehind]:
        """Surges under way, of whatever run; one that is over leaves nothing."""
        found = [loads.standing(self._cluster, pod) for pod in self._pods()]
        return [
            LeftBehind(f"surge-{one.asked.run}", self._settings.namespace, one.asked.run, expired=False)
            for one in found
            if one is not None
        ]

    def _pods(self) -> list[Pod]:
        settings = self._settings
        found = list_pods(self._cluster, settings.namespace, settings.load_selector)
        return [pod for pod in found if pod.phase == "Running" and not pod.deleting]
