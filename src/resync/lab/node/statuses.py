"""A pod's status, built from what the node knows. Pure; written whole each time."""

from dataclasses import dataclass

from resync.lab.kube import Object
from resync.lab.metadata import stamp
from resync.lab.node.allocation import Pair
from resync.lab.node.objects import Pod


@dataclass(frozen=True, slots=True)
class Waiting:
    """No process: why not."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A process, since when (wall clock)."""

    started_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended: `exit_code` as kubelet gives it (128 + signal).

    `start_error` says why one ended that never began.
    """

    exit_code: int
    started_s: float
    finished_s: float
    start_error: str = ""

    @property
    def reason(self) -> str:
        """Kubelet's word for it."""
        if self.start_error:
            return "StartError"
        return "Completed" if self.exit_code == 0 else "Error"


State = Waiting | Running | Ended


@dataclass(frozen=True, slots=True)
class Life:
    """Where a pod is: what its container does now, what it did last, and since when it is ready or not."""

    state: State = Waiting("ContainerCreating")
    last: Ended | None = None
    ready: bool = False
    ready_changed_s: float = 0.0
    restarts: int = 0
    accepted_s: float = 0.0
    addresses: Pair | None = None


def status_of(pod: Pod, life: Life, host_ip: str) -> Object:
    """The `status` to write."""
    return {
        "phase": _phase(pod, life),
        "startTime": stamp(life.accepted_s),
        "hostIP": host_ip,
        "conditions": _conditions(life),
        "containerStatuses": [_container(pod, life)],
        "qosClass": "BestEffort",
        **_ips(life.addresses),
    }


def _phase(pod: Pod, life: Life) -> str:
    match life.state:
        case Ended(exit_code, _, _, _) if _final(pod.spec.restart_policy, exit_code):
            return "Succeeded" if exit_code == 0 else "Failed"
        case Waiting() if life.last is None:
            return "Pending"
        case _:
            return "Running"


def _final(policy: str, exit_code: int) -> bool:
    """Whether a container that ended so is not started again."""
    return policy == "Never" or (policy == "OnFailure" and exit_code == 0)


def is_final(pod: Pod, exit_code: int) -> bool:
    """Whether the pod is over once its container has ended with this code."""
    return _final(pod.spec.restart_policy, exit_code)


def _ips(addresses: Pair | None) -> Object:
    if addresses is None:
        return {}
    return {"podIP": addresses.pod_ip, "podIPs": [{"ip": addresses.pod_ip}]}


def _conditions(life: Life) -> list[Object]:
    ready = str(life.ready)
    since = {
        "PodScheduled": ("True", life.accepted_s),
        "Initialized": ("True", life.accepted_s),
        "ContainersReady": (ready, life.ready_changed_s or life.accepted_s),
        "Ready": (ready, life.ready_changed_s or life.accepted_s),
    }
    return [
        {"type": name, "status": value, "lastTransitionTime": stamp(at_s)}
        for name, (value, at_s) in since.items()
    ]


def _container(pod: Pod, life: Life) -> Object:
    uid = pod.metadata.uid
    status: Object = {
        "name": pod.container.name,
        "image": pod.container.image,
        "imageID": "",
        "containerID": f"process://{uid}/{life.restarts}",
        "ready": life.ready,
        "started": isinstance(life.state, Running),
        "restartCount": life.restarts,
        "state": _state(life.state),
    }
    if life.last is not None:
        status["lastState"] = _state(life.last)
    return status


def _state(state: State) -> Object:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason, "message": message}}
        case Running(started_s):
            return {"running": {"startedAt": stamp(started_s)}}
        case Ended() as ended:
            return {
                "terminated": {
                    "exitCode": ended.exit_code,
                    "reason": ended.reason,
                    **({"message": ended.start_error} if ended.start_error else {}),
                    "startedAt": stamp(ended.started_s),
                    "finishedAt": stamp(ended.finished_s),
                }
            }
