"""The real world: the Kubernetes and Prometheus clients of this project, as a run needs them.

Foreign errors become ours on the way out (`resync.run.clustererrors`); nothing above this module knows a
client.
"""

from collections.abc import Sequence
from pathlib import Path

from resync.cluster import (
    controllers,
    faults,
    leases,
    manifests,
    namespaces,
    orphans,
    residues,
    targets,
    toolkit,
)
from resync.cluster import errors as cluster_errors
from resync.cluster.completions import Completion
from resync.cluster.connecting import Cluster
from resync.cluster.pods import Pod, list_pods
from resync.cluster.selectors import Selector
from resync.cluster.statuses import FaultWire
from resync.kits.clocks import SystemClock
from resync.kits.reading import read_json
from resync.kits.shields import Shield
from resync.kvsync.fleet import LABEL_RANKS, ranks_of
from resync.run.clustererrors import ours, step_for
from resync.run.errors import RefusedError, UnmeasuredError
from resync.run.files import manifest_path
from resync.run.fronts import Fronts
from resync.run.loadfaults import ACTION, KIND, LoadFaults
from resync.run.observations import PodSeen, Series
from resync.run.samples import Window
from resync.run.scrapes import Scrapes
from resync.run.settings import Settings
from resync.run.worlds import FaultPlan, Hit, Injected, LeftBehind

LOOKS_MAX = 3
"""How often pods may change between two ways of counting them before that is no answer."""


def load_clients() -> None:
    """Import what is imported late, before it is needed."""
    toolkit.load()


def labels_of(selector: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping. Raises RefusedError for anything else: a fault takes exact labels only."""
    pairs = [part.split("=", 1) for part in selector.split(",") if part.strip()]
    if not pairs or any(len(p) != 2 or not p[0].strip() for p in pairs):  # noqa: PLR2004 - a pair
        raise RefusedError(
            f"{selector!r} is not a selector of the form label=value,label=value",
            next_step="correct RESYNC_GATEWAY_SELECTOR or RESYNC_ENGINE_SELECTOR",
        )
    return {key.strip(): value.strip() for key, value in pairs}


def _seen(pod: Pod) -> PodSeen:
    return PodSeen(
        pod_key=pod.pod_key, phase=pod.phase, ready=pod.ready, restarts=pod.restart_count, uid=pod.uid
    )


def _of_one_rank(engines: Sequence[Pod]) -> None:
    """Raises UnmeasuredError: of several ranks neither a truth nor an answer tells which one was meant."""
    for pod in engines:
        if ranks_of(pod.labels) != 1:
            said = f"{pod.pod_key} is labelled {LABEL_RANKS}={pod.labels[LABEL_RANKS]}"
            raise UnmeasuredError(
                f"{said}: what each of its data-parallel ranks holds cannot be measured",
                next_step="select engines of one rank each (RESYNC_ENGINE_SELECTOR)",
            )


def _counted(pods: Sequence[PodSeen]) -> tuple[int, int, bool]:
    running = [p for p in pods if p.phase == "Running"]
    return len(pods), len(running), bool(pods) and all(p.ready for p in running) and len(running) == len(pods)


class ClusterWorld:
    """A World over `resync.cluster` and Prometheus; each of its questions is asked inside `shield`."""

    def __init__(self, settings: Settings, shield: Shield) -> None:
        """Connect lazily: nothing is asked yet. Raises RefusedError for an unusable kubeconfig."""
        self._settings = settings
        self._lease: leases.HeldLease | None = None
        self._renewer: leases.LeaseRenewer | None = None
        self._applied: faults.AppliedFault | None = None
        with ours():
            kubeconfig = Path(settings.kubeconfig) if settings.kubeconfig else None
            self._cluster = Cluster.connect(kubeconfig, shield=shield)
        self._scrapes = Scrapes(settings, shield)
        self._loads = LoadFaults(self._cluster, settings)
        self._fronts = Fronts(self._cluster, settings)

    @property
    def api_server(self) -> str:
        """The address of the API server."""
        return self._cluster.host

    def opted_in(self) -> bool:
        """Whether the namespace has agreed to faults."""
        with ours():
            return namespaces.opted_in(self._cluster, self._settings.namespace)

    # --- the fault

    def mesh_alive(self, run_id: str) -> str:
        """What showed that somebody executes faults and ends them."""
        settings = self._settings
        with ours():
            alive = controllers.require_alive(
                self._cluster, settings.namespace, run_id=run_id, timeout_s=settings.mesh_limit_s
            )
        kinds = ", ".join(alive.kinds)
        return f"a new fault was touched after {alive.answered_s:.2f} s and let go; kinds: {kinds}"

    def plan(self, manifest: str, run_id: str) -> FaultPlan:
        """The fault of that manifest with this run's settings and expiry, named after the run."""
        if manifest == ACTION:
            return self._loads.plan(run_id)
        made = self._manifest(manifest, run_id)
        return FaultPlan(
            name=made.name,
            namespace=made.namespace,
            plural=made.row.plural,
            fault_kind=made.kind,
            action=_action_of(made),
            duration_s=made.duration_s,
            manifest=made.document,
            run=run_id,
        )

    def _manifest(self, manifest: str, run_id: str) -> manifests.Manifest:
        settings = self._settings
        with ours():
            loaded = manifests.load_manifest(manifest_path(manifest))
            return manifests.override(
                loaded,
                name=f"{loaded.name}-{run_id}",
                namespace=settings.namespace,
                duration_s=settings.fault_duration_s,
                **self._varied(loaded),
            )

    def _varied(self, loaded: manifests.Manifest) -> manifests.Varied:
        """What the settings say about such a fault; one of the network lies between gateway and engines."""
        settings = self._settings
        engines = _running(settings.namespace, settings.engine_selector)
        gateways = _running(settings.gateway_namespace, settings.gateway_selector)
        if loaded.target is None:
            return {"source_selector": self._only_side(loaded)}
        varied: manifests.Varied = {"source_selector": gateways, "target_selector": engines}
        if loaded.latency_ms is not None:
            varied |= {
                "latency_ms": settings.latency_ms,
                "jitter_ms": settings.jitter_ms,
                "direction": settings.direction,
            }
        return varied

    def _only_side(self, loaded: manifests.Manifest) -> Selector:
        """Raises RefusedError for pods that the settings do not know."""
        settings = self._settings
        known = {
            "engine": (settings.namespace, settings.engine_selector),
            "gateway": (settings.gateway_namespace, settings.gateway_selector),
            "prometheus": (settings.prometheus_namespace, settings.prometheus_selector),
        }
        if loaded.hits not in known:
            raise RefusedError(
                f"the manifest says that it hits {loaded.hits!r}; known are {', '.join(known)}",
                next_step=f"correct its label {manifests.HITS_LABEL}",
            )
        return _running(*known[loaded.hits])

    def hit(self, plan: FaultPlan) -> Hit:
        """The pods that fault would hit now."""
        with ours():
            if plan.fault_kind == KIND:
                return self._loads.hit()
            found = targets.resolve(self._cluster, _parsed(plan), pods_max=self._settings.targets_max)
        return Hit(
            sources=tuple(p.pod_key for p in found.source), peers=tuple(p.pod_key for p in found.target)
        )

    def inject(self, plan: FaultPlan) -> Injected:
        """Create the fault and wait until it stands on every target."""
        with ours():
            if plan.fault_kind == KIND:
                return self._loads.inject(plan)
            self._applied = faults.apply(self._cluster, _parsed(plan), run_id=plan.run)
            stands = faults.await_injected(self._cluster, self._applied, self._settings.inject_limit_s)
        return Injected(
            created_s=self._applied.created_s,
            expires_s=self._applied.expires_s,
            pods=tuple(sorted({record.pod_key for record in stands.records})),
        )

    def present(self, plan: FaultPlan) -> bool:
        """Whether the fault is still injected on every target."""
        if plan.fault_kind == KIND:
            with ours():
                return self._loads.present(plan)
        path = _parsed(plan).row.path(plan.namespace, plan.name)
        try:
            return self._cluster.get(path, FaultWire).injected
        except cluster_errors.NotFoundError:
            return False
        except cluster_errors.ClusterError as error:
            raise UnmeasuredError(str(error), next_step=step_for(error)) from error

    def heal(self, plan: FaultPlan) -> None:
        """Remove every fault of the run: also one whose creation was never answered."""
        with ours():
            self._loads.end(plan.run)
            if self._applied is not None:
                faults.heal(self._cluster, self._applied, self._settings.heal_limit_s)
            for left in residues.residue(self._cluster, plan.namespace, plan.run):
                faults.heal(self._cluster, left.applied, self._settings.heal_limit_s)
            self._free_orphans(plan.namespace, plan.run)

    # --- pods

    def gateways(self) -> list[PodSeen]:
        """The gateway's pods."""
        return self._pods(self._settings.gateway_namespace, self._settings.gateway_selector)

    def engines(self) -> list[PodSeen]:
        """The engines' pods, as the API lists them and chaostoolkit-kubernetes counts them too.

        Raises UnmeasuredError where one has several data-parallel ranks.
        """
        settings = self._settings
        for _ in range(LOOKS_MAX):
            with ours():
                found = list_pods(self._cluster, settings.namespace, settings.engine_selector)
                said = toolkit.headcount(self._cluster, settings.namespace, settings.engine_selector)
            _of_one_rank(found)
            pods = [_seen(pod) for pod in found]
            if (said.pods, said.running, said.all_well) == _counted(pods):
                return pods
        raise UnmeasuredError(
            f"chaostoolkit-kubernetes counts {said}, the API lists {len(pods)} engines: they keep changing",
            next_step="wait until the engines stay as they are, then run again",
        )

    def _pods(self, namespace: str, selector: str) -> list[PodSeen]:
        with ours():
            return [_seen(p) for p in list_pods(self._cluster, namespace, selector)]

    def complete(self, prompt: Sequence[int], engine: str | None = None) -> Completion:
        """One token after that prompt, of that engine or by whom requests come in."""
        with ours():
            return self._fronts.complete(prompt, engine)

    # --- the lease and what is left

    def hold_lease(self, run_id: str) -> None:
        """Take the namespace and keep renewing from a thread."""
        with ours():
            self._lease = leases.acquire(self._cluster, self._settings.namespace, run_id)
        self._renewer = leases.LeaseRenewer(self._cluster, self._lease)
        self._renewer.start()

    def lease_lost(self) -> str:
        """Why the lease is no longer ours; empty while it is."""
        lost = self._renewer.lost if self._renewer is not None else None
        return str(lost) if lost else ""

    def release_lease(self) -> None:
        """Give the namespace back."""
        if self._renewer is None:
            return
        with ours():
            leases.release(self._cluster, self._renewer.stop())
        self._renewer = None

    def left_behind(self) -> list[LeftBehind]:
        """Faults of ours in the namespace."""
        now_s = SystemClock().wall_s()
        with ours():
            found = residues.residue(self._cluster, self._settings.namespace)
            surges = self._loads.left_behind()
            shares = [
                LeftBehind(_gone_but(one), one.namespace, one.run_id, expired=True)
                for one in orphans.orphans(self._cluster, self._settings.namespace)
            ]
        return (
            surges
            + shares
            + [
                LeftBehind(f.applied.name, f.applied.namespace, f.run_id, expired=not f.live(now_s))
                for f in found
            ]
        )

    def sweep(self, fault: LeftBehind) -> None:
        """Remove it and wait until it is gone."""
        with ours():
            self._loads.end(fault.run)
            for left in residues.residue(self._cluster, fault.namespace, fault.run):
                faults.heal(self._cluster, left.applied, self._settings.heal_limit_s)
            self._free_orphans(fault.namespace, fault.run)

    def _free_orphans(self, namespace: str, run_id: str) -> None:
        for orphan in orphans.orphans(self._cluster, namespace, run_id):
            orphans.remove(self._cluster, orphan)

    # --- Prometheus

    def interval_s(self) -> float:
        """How often Prometheus scrapes what the claims are judged from."""
        return self._scrapes.interval_s()

    def series(self, metrics: Sequence[str], window: Window) -> list[Series]:
        """The raw samples of those metrics in `window`."""
        return self._scrapes.series(metrics, window)

    def close(self) -> None:
        """Give connections back."""
        self._cluster.close()


def _action_of(made: manifests.Manifest) -> str:
    """The action, and what makes another fault of it: a reset of connections, a gateway as its target."""
    more = "-reset" if made.resets else "-gateway" if made.one_shot and made.hits_gateway else ""
    return f"{made.action or ''}{more}"


def _gone_but(orphan: orphans.Orphan) -> str:
    name = orphan.source.rpartition("/")[2]
    return f"{name} (gone, but not its rules in the network of pod {orphan.pod})"


def _running(namespace: str, selector: str) -> Selector:
    return Selector(
        namespaces=(namespace,), label_selectors=labels_of(selector), pod_phase_selectors=("Running",)
    )


def _parsed(plan: FaultPlan) -> manifests.Manifest:
    return manifests.parse_manifest(read_json(plan.manifest, object), where=plan.name)
