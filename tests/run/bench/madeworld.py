"""A world made of numbers: every metric is a formula of time, every fault a pair of instants.

Two uses. In a test process `Numbers` makes the samples of a phase for the pure judges. In a subprocess this
module is the control of an experiment: it opens this world in place of a cluster, so that a whole `chaos run`
takes seconds and needs neither lab nor Prometheus. What is wrong with the world is said by MADE_WORLD (JSON,
one key per wrong thing).
"""

import json
import math
import os
import pathlib
import time
from collections.abc import Iterator, Sequence

from resync.cluster.completions import Completion
from resync.kits.waits import wait_until
from resync.run import courses, runs
from resync.run.control import *  # noqa: F403 - this module is that control, over another world
from resync.run.errors import RefusedError, UnmeasuredError
from resync.run.joining import Lab, LabState
from resync.run.observations import PodSeen, Series
from resync.run.records import Record, kind_of
from resync.run.worlds import FaultPlan, Hit, Injected, LeftBehind, World

INTERVAL_S = 0.1
ENGINES = tuple(f"default/engine-{i}" for i in range(3))
GATEWAY = "default/gateway-0"
LES = (0.01, 0.02, 0.06, 0.07, 0.2, 0.26, 0.4, math.inf)
KINDS = ("missing", "phantom", "misattributed", "mis-hashed")
Knobs = dict[str, object]


class Numbers:
    """What Prometheus would have stored, for a fault that stood from `injected_s` to `healed_s`."""

    def __init__(self, born_s: float, knobs: Knobs, *, latency_ms: float = 50.0) -> None:
        self.born_s = born_s
        self.knobs = knobs
        self.latency_s = latency_ms / 1000
        self.injected_s = math.inf
        self.healed_s = math.inf

    def faulted(self, t: float) -> bool:
        lost_after = float(str(self.knobs.get("effect_lost_after_s", "inf")))
        ends = min(self.healed_s, self.injected_s + lost_after)
        return self.injected_s <= t < ends and not self.knobs.get("no_effect")

    def _slow_s(self, t: float) -> float:
        """How much of the time up to `t` the fault stood."""
        return max(0.0, min(t, self.healed_s) - self.injected_s) if t > self.injected_s else 0.0

    def _moving(self, t: float, pod: str = "") -> float:
        """Time as the system lives it: a frozen part stays where it was when the fault came."""
        frozen = self.knobs.get("frozen")
        if self.knobs.get("frozen_everywhere"):
            return self.born_s + 1
        return min(t, self.injected_s) if frozen and pod.endswith(str(frozen)) else t

    def applied(self, t: float, pod: str) -> float:
        return math.floor(20 * (self._moving(t, pod) - self.born_s))

    def rtt(self, t: float) -> tuple[float, float]:
        done, slow_s = math.floor(t / 0.25) * 0.25, 0.002 + 2 * self.latency_s
        if self.faulted(done - slow_s):
            return slow_s, done
        # What began after the injection and is not back yet is not measured: the one before still stands.
        return 0.002, done - 0.25 if self.faulted(done - 0.002) and done < self.injected_s + slow_s else done

    def age(self, t: float, pod: str) -> tuple[float, float]:
        done = math.floor(self._moving(t, pod) / 0.05) * 0.05
        return (0.004 + self.latency_s if self.faulted(done - 0.06) else 0.004), done

    def bucket(self, t: float, pod: str, le: float) -> float:
        at = self._moving(t, pod)
        slow = 20 * self._slow_s(at)
        late_s = float(str(self.knobs.get("late_s", 0.004)))
        quick = 20 * (at - self.born_s) - slow
        return math.floor((quick if le >= 0.01 else 0) + (slow if le >= self.latency_s + late_s else 0))

    def wrong(self, t: float, pod: str, kind: str) -> float:
        said = self.knobs.get("divergence")
        if not isinstance(said, dict) or said.get("kind") != kind or said.get("pod") != pod:
            return 0.0
        since = self.born_s if said.get("always") else self.injected_s + 1.0
        return float(said.get("count", 1)) if t >= since else 0.0

    def control(self, t: float) -> float:
        again_s = self.injected_s + float(str(self.knobs.get("control_again_after_s", "inf")))
        at_start = self.born_s + 2 <= t < self.born_s + 4 and not self.knobs.get("no_control")
        return 1.0 if at_start or again_s <= t < again_s + 1 else 0.0

    def series(self, metrics: Sequence[str], window: tuple[float, float]) -> list[Series]:
        first = math.ceil(window[0] / INTERVAL_S)
        last = math.floor(window[1] / INTERVAL_S)
        times = [round(i * INTERVAL_S, 3) for i in range(first, last + 1) if i * INTERVAL_S >= self.born_s]
        hole = float(str(self.knobs.get("scrapes_stop_after_s", "inf")))
        times = [t for t in times if t < self.injected_s + hole]
        return [s for s in self._all(times) if s.metric in metrics and s.metric != self.knobs.get("lacks")]

    def _all(self, times: list[float]) -> Iterator[Series]:
        yield from self._of_engines(times)
        born = [(t, self.born_s) for t in times]
        for name, rate in (("cuts", 4), ("load_allowed_hits", 20), ("load_sent", 30)):
            yield Series(
                metric=f"resync_{name}_total", labels={}, points=[(t, self._count(rate, t)) for t in times]
            )
            yield Series(metric=f"resync_{name}_created", labels={}, points=born)
        routed = float(str(self.knobs.get("routed", 1.0)))
        yield Series(
            metric="resync_load_routed_hits_total",
            labels={},
            points=[(t, math.floor(routed * self._count(20, t))) for t in times],
        )
        for name, value in (("gateways_selected", 1), ("shared_hashes", self.knobs.get("shared", 50))):
            yield Series(metric=f"resync_{name}", labels={}, points=[(t, float(str(value))) for t in times])
        audited = float(str(self.knobs.get("audited", 1)))
        yield Series(metric="resync_gateways_audited", labels={}, points=[(t, audited) for t in times])
        yield Series(
            metric="resync_divergent_cuts_total",
            labels={"gateway": GATEWAY},
            points=[(t, 0.0) for t in times],
        )
        cut = [(t, math.floor(t / 0.25) * 0.25) for t in times]
        yield Series(metric="resync_last_cut_timestamp_seconds", labels={"gateway": GATEWAY}, points=cut)
        sent = [(t, self._load_s(t)) for t in times]
        yield Series(metric="resync_load_last_sent_timestamp_seconds", labels={}, points=sent)
        control = {"gateway": GATEWAY, "pod_key": "resync-control", "kind": "phantom"}
        if not self.knobs.get("control_stays_away"):
            age_s = float(str(self.knobs.get("control_age_s", 0)))
            stamp = [(t, self.born_s + 5 - age_s) for t in times if t >= self.born_s + 5]
            yield Series(metric="resync_control_timestamp_seconds", labels={"gateway": GATEWAY}, points=stamp)
        yield Series(
            metric="resync_divergence_blocks", labels=control, points=[(t, self.control(t)) for t in times]
        )

    def _load_s(self, t: float) -> float:
        return min(t, self.injected_s + float(str(self.knobs.get("load_dies_after_s", "inf"))))

    def _count(self, rate: float, t: float) -> float:
        return math.floor(rate * (self._load_s(t) - self.born_s))

    def _of_engines(self, times: list[float]) -> Iterator[Series]:
        for pod in ENGINES:
            of, both = {"pod_key": pod}, {"pod_key": pod, "gateway": GATEWAY}
            rtt, age = [self.rtt(t) for t in times], [self.age(t, pod) for t in times]
            applied = [(t, self.applied(t, pod)) for t in times]
            table: tuple[tuple[str, dict[str, str], list[tuple[float, float]]], ...] = (
                ("resync_published_sequence", of, [(t, self.applied(t, "")) for t in times]),
                ("resync_applied_sequence", both, applied),
                ("resync_gateway_applied_sequence", of, applied),
                (
                    "resync_gateway_engine_rtt_seconds",
                    of,
                    [(t, r[0]) for t, r in zip(times, rtt, strict=True)],
                ),
                (
                    "resync_gateway_engine_rtt_timestamp_seconds",
                    of,
                    [(t, r[1]) for t, r in zip(times, rtt, strict=True)],
                ),
                (
                    "resync_gateway_last_event_age_seconds",
                    of,
                    [(t, a[0]) for t, a in zip(times, age, strict=True)],
                ),
                (
                    "resync_gateway_applied_timestamp_seconds",
                    of,
                    [(t, a[1]) for t, a in zip(times, age, strict=True)],
                ),
                ("resync_peer_rtt_seconds", of, [(t, 0.001) for t in times]),
                ("up", of, [(t, 1.0) for t in times]),
                ("resync_staleness_seconds", both, [(t, max(0.01, t - self._moving(t, pod))) for t in times]),
                ("resync_staleness_blocks", both, [(t, 1.0) for t in times]),
                ("resync_audited_blocks_total", both, [(t, self._audited(t)) for t in times]),
                ("resync_blocks_removed_total", of, [(t, self._count(20, t)) for t in times]),
                (
                    "aibrix_kvcache_zmq_events_processed_total",
                    {**of, "event_type": "BlockStored"},
                    applied,
                ),
                (
                    "aibrix_kvcache_zmq_errors_total",
                    {**of, "error_type": "decode"},
                    [(t, self._undecoded(t, pod)) for t in times],
                ),
                ("resync_gateway_gaps_total", of, [(t, self._gaps(t, pod)) for t in times]),
                ("resync_gateway_gaps_repaired_total", of, [(t, 0.0) for t in times]),
            )
            for metric, labels, points in table:
                yield Series(metric=metric, labels=labels, points=points)
            for kind in KINDS:
                wrong = [(t, self.wrong(t, pod, kind)) for t in times]
                yield Series(metric="resync_divergence_blocks", labels={**both, "kind": kind}, points=wrong)
            for le in LES:
                bound = "+Inf" if math.isinf(le) else str(le)
                counts = [(t, self.bucket(t, pod, le)) for t in times]
                yield Series(
                    metric="resync_gateway_event_age_seconds_bucket",
                    labels={**of, "le": bound},
                    points=counts,
                )

    def _audited(self, t: float) -> float:
        return 0.0 if self.knobs.get("empty") else math.floor(100 * (t - self.born_s))

    def _undecoded(self, t: float, pod: str) -> float:
        return math.floor(20 * (t - self.born_s)) if self.knobs.get("undecodable") == pod else 0.0

    def _gaps(self, t: float, pod: str) -> float:
        return 1.0 if self.knobs.get("gap") == pod and t > self.injected_s + 0.5 else 0.0


def pods(*names: str) -> list[PodSeen]:
    return [PodSeen(pod_key=n, phase="Running", ready=True, restarts=0, uid=n) for n in names]


class MadeWorld:
    """A World over Numbers; the fault's state is a file, so that a test can look at it from outside."""

    @property
    def api_server(self) -> str:
        return "made://world"

    def __init__(self, knobs: Knobs) -> None:
        self.knobs = knobs
        self.numbers = Numbers(time.time() - 60, knobs)
        self.held: dict[tuple[int, ...], str] = {}
        self.fault = pathlib.Path(os.environ.get("MADE_FAULT_FILE", "fault-stands"))

    def opted_in(self) -> bool:
        return not self.knobs.get("not_opted_in")

    def mesh_alive(self, run_id: str) -> str:
        if self.knobs.get("mesh_silent"):
            self.fault.write_text(run_id)
            raise UnmeasuredError("no controller touched a new fault", next_step="start Chaos Mesh")
        return "it answered"

    def plan(self, manifest: str, run_id: str) -> FaultPlan:
        return FaultPlan(
            name=f"made-{run_id}",
            namespace="default",
            plural="networkchaos",
            fault_kind="NetworkChaos",
            action="delay",
            duration_s=float(str(self.knobs.get("duration_s", 2.4))),
            run=run_id,
            manifest=manifest.encode(),
        )

    def hit(self, plan: FaultPlan) -> Hit:  # noqa: ARG002
        if self.knobs.get("nothing_selected"):
            raise RefusedError("the selector matches no pod", next_step="correct the selector")
        return Hit((GATEWAY,), ENGINES)

    def gateways(self) -> list[PodSeen]:
        return pods(GATEWAY)

    def engines(self) -> list[PodSeen]:
        return pods(*ENGINES)

    def hold_lease(self, run_id: str) -> None:  # noqa: ARG002
        if self.knobs.get("lease_held"):
            raise RefusedError("another run holds the namespace", next_step="wait for it")

    def lease_lost(self) -> str:
        return ""

    def release_lease(self) -> None:
        return

    def left_behind(self) -> list[LeftBehind]:
        if self.fault.exists():
            return [LeftBehind("made", "default", self.fault.read_text(), expired=False)]
        old = self.knobs.pop("residue", None)
        return [LeftBehind("old", "default", "an-earlier-run", expired=old == "expired")] if old else []

    def sweep(self, fault: LeftBehind) -> None:
        if fault.name == "made":
            self.fault.unlink()
        else:
            assert fault.expired

    def inject(self, plan: FaultPlan) -> Injected:
        if self.knobs.get("inject_fails"):
            self.fault.write_text(plan.run)
            raise UnmeasuredError("the mesh did not inject it", next_step="look at the mesh")
        self.fault.write_text(plan.run)
        self.numbers.injected_s = time.time()
        created = time.time()
        return Injected(created, created + plan.duration_s, ENGINES)

    def present(self, plan: FaultPlan) -> bool:  # noqa: ARG002
        return self.fault.exists()

    def heal(self, plan: FaultPlan) -> None:  # noqa: ARG002
        fails = int(str(self.knobs.get("heal_fails", 0)))
        if fails:
            self.knobs["heal_fails"] = fails - 1
            raise UnmeasuredError("the fault is still there", next_step="sweep it")
        self.fault.unlink(missing_ok=True)
        self.numbers.healed_s = min(self.numbers.healed_s, time.time())

    def interval_s(self) -> float:
        return float(str(self.knobs.get("interval_s", INTERVAL_S)))

    def series(self, metrics: Sequence[str], window: tuple[float, float]) -> list[Series]:
        dead = float(str(self.knobs.get("prometheus_dies_after_s", "inf")))
        if time.time() > self.numbers.injected_s + dead or self.knobs.get("prometheus_down"):
            raise UnmeasuredError("Prometheus does not answer", next_step="start it")
        return self.numbers.series(metrics, (window[0], min(window[1], time.time() - INTERVAL_S)))

    def complete(self, prompt: Sequence[int], engine: str | None = None) -> Completion:
        """Whoever computed a prompt first holds it; what the engine `astray` holds is asked of another."""
        holder = self.held.setdefault(tuple(prompt), engine or ENGINES[0])
        target = engine or holder
        if engine is None and holder.endswith(str(self.knobs.get("astray", "nobody"))):
            target = next(pod for pod in ENGINES if pod != holder)
        elif engine is None and "in_turn" in self.knobs:
            target = ENGINES[int(str(self.knobs["in_turn"])) % len(ENGINES)]
            self.knobs["in_turn"] = int(str(self.knobs["in_turn"])) + 1
        cached = len(prompt) - 1 if target == holder else 0
        return Completion(status=200, cached_tokens=cached, target=target.rpartition("/")[2])

    def close(self) -> None:
        return


def knobs() -> Knobs:
    found: Knobs = json.loads(os.environ.get("MADE_WORLD", "{}"))
    return found


def open_made_world(parsed: object, shield: object) -> World:  # noqa: ARG001
    return MadeWorld(knobs())


def join_made_lab() -> Lab:
    return Lab(LabState(pid_start_ticks=0, pid=os.getpid(), kubeconfig="none", prometheus_url="none"))


class HeldRun(runs.Run):
    """Goes on after the record of one kind only when a signal has come: no machine is too slow to send it."""

    def note(self, record: Record) -> None:
        super().note(record)
        if kind_of(record) == os.environ["MADE_HOLD_AT"]:
            wait_until(lambda: bool(self.signals.count), what="a signal", timeout_s=20.0, every_s=0.002)


if os.environ.get("MADE_CONTROL"):
    courses.open_world = open_made_world
    courses.join_lab = join_made_lab
    if os.environ.get("MADE_HOLD_AT"):
        vars(runs)["Run"] = HeldRun
