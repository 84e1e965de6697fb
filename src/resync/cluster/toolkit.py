"""chaostoolkit-kubernetes, asked through a client of ours.

Its probes build their own client from what lies around: KUBECONFIG as it was when `kubernetes` was imported,
the user's current context, HTTP_PROXY, or `http://localhost`; they wait for ever, and take no client
(`chaosk8s.create_k8s_api_client`, version 0.39). An experiment on the lab would so look at the user's own
cluster. Here each probe is run as a copy that differs in one name: where the original builds a client, the
copy is handed the client of a `Cluster`, with a limit on every call. Nothing of the package is changed, so
nobody else's calls are affected and threads do not meet; that the copy never contacts what KUBECONFIG names
is tested with a listening socket.

Its `pods_in_phase` alone would not do: it takes a pod that is not Ready for well, and has one error for
"none" and for "wrong". So the pods are counted, those Running are counted, and their Ready conditions are
asked for. None at all is an answer of its own and never "all Running".
"""

import contextlib
import gc
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import urllib3

from resync.cluster import answers, errors
from resync.cluster.connecting import Cluster

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

MAKES_CLIENT = "create_k8s_api_client"
"""The name under which every probe of chaostoolkit-kubernetes asks for its client."""

READY = ({"type": "Ready", "status": "True"},)

Probe = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Headcount:
    """Pods of one selector as chaostoolkit-kubernetes counts them: all, those Running, whether all Ready."""

    pods: int
    running: int
    ready: bool

    @property
    def all_well(self) -> bool:
        """Whether there is a pod, and every one is Running and Ready."""
        return 0 < self.pods == self.running and self.ready

    def __str__(self) -> str:
        """For a sentence."""
        return f"{self.running} of {self.pods} Running, {'all' if self.ready else 'not all'} Ready"


def headcount(cluster: Cluster, namespace: str, label_selector: str, *, timeout_s: float = 5.0) -> Headcount:
    """What chaostoolkit-kubernetes says of the pods with those labels, by three calls of `timeout_s` each.

    Raises ClusterError: also when an answer cannot be read.
    """
    probes = load()
    where: dict[str, Any] = {"label_selector": label_selector, "ns": namespace}
    with cluster.shield(), contextlib.closing(_bounded(cluster, timeout_s)) as client:

        def ask(probe: Probe, **more: object) -> Any:
            return _asked(cluster, with_client(probe, client), {**where, **more})

        pods = int(ask(probes.count_pods))
        if not pods:
            return Headcount(0, 0, ready=False)
        running = int(ask(probes.count_pods, phase="Running"))
        return Headcount(pods, running, ready=_all_ready(ask, probes.pods_in_conditions))


def load() -> ModuleType:
    """The probes of chaostoolkit-kubernetes and the API they use, which `chaos validate` need not import.

    It takes the better part of a second: the official client defines hundreds of models, and each new one is
    looked through for garbage with all the others, so that looking is left out meanwhile.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module("kubernetes.client.api.core_v1_api")
        return importlib.import_module("chaosk8s.pod.probes")
    finally:
        if collecting:
            gc.enable()


def _all_ready(ask: Probe, probe: Probe) -> bool:
    try:
        return bool(ask(probe, conditions=list(READY), raise_on_invalid_conditions=False))
    except TypeError:
        # A pod without any condition: 0.39 iterates over None. Nobody has said that it is Ready.
        return False


def _asked(cluster: Cluster, probe: Probe, arguments: dict[str, Any]) -> Any:
    from kubernetes.client.exceptions import ApiException

    what = f"{probe.__name__} of chaostoolkit-kubernetes"
    try:
        return probe(**arguments)
    except ApiException as problem:
        body = str(problem.body or "").encode()
        raise answers.error_for(int(problem.status or 0), body, what) from problem
    except urllib3.exceptions.HTTPError as problem:
        raise answers.error_without_answer(problem, what, cluster.host) from problem
    except ValueError as problem:
        # Models of the official client validate, pydantic's error among them: it is no Kubernetes API.
        raise errors.NotAnApiError(f"the answer to {what} is not what a Kubernetes API sends") from problem


def with_client(probe: Probe, client: "ApiClient") -> Probe:
    """`probe` of chaostoolkit-kubernetes, with `client` where it would build one; the original is untouched.

    Raises TypeError when the probe builds its client in another way: it must not be called then.
    """
    code = getattr(probe, "__code__", None)
    if not isinstance(probe, FunctionType) or code is None or MAKES_CLIENT not in code.co_names:
        raise TypeError(f"{probe!r} does not take its client from {MAKES_CLIENT}: it could reach any cluster")
    names = {**probe.__globals__, MAKES_CLIENT: lambda _secrets=None: client}
    copy = FunctionType(code, names, probe.__name__, probe.__defaults__, probe.__closure__)
    copy.__kwdefaults__ = probe.__kwdefaults__
    return copy


def _bounded(cluster: Cluster, timeout_s: float) -> "ApiClient":
    """A client with the credentials of `cluster`, and a limit on calls that name none."""
    from kubernetes.client import ApiClient

    class Bounded(ApiClient):
        def call_api(self, *call: Any, _request_timeout: Any = None, **named: Any) -> Any:
            named["_request_timeout"] = timeout_s if _request_timeout is None else _request_timeout
            return super().call_api(*call, **named)

    return Bounded(cluster.api_client.configuration)
