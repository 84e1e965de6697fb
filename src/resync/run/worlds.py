"""What a run needs from the world: a cluster that takes faults, and a Prometheus that remembers.

`World` is the seam between the course of a run (which is the same everywhere, and tested against a world made
of numbers) and the Kubernetes and Prometheus clients (`resync.run.clusterworld`). It promises what the run
depends on: every method either did what its name says or raised; nothing is "probably fine".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from resync.cluster.completions import Completion
from resync.run.observations import PodSeen, Series
from resync.run.samples import Window


@dataclass(frozen=True, slots=True)
class Hit:
    """The pods of a run: `sources` get the fault, `peers` are its other end, both as pod_keys."""

    sources: tuple[str, ...]
    peers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """One fault, ready to be created."""

    name: str
    namespace: str
    plural: str
    fault_kind: str
    action: str
    duration_s: float
    run: str
    manifest: bytes
    """The object as JSON."""


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that stands on every target.

    When it was created by the server's clock, and when it ends by itself.
    """

    created_s: float
    expires_s: float
    pods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A fault of ours found in the cluster."""

    name: str
    namespace: str
    run: str
    expired: bool

    def __str__(self) -> str:
        """For a sentence."""
        return f"{self.namespace}/{self.name} of run {self.run}"


class World(Protocol):
    """A cluster and its Prometheus, as one run sees them. Methods raise RunError with the next step."""

    @property
    def api_server(self) -> str:
        """The address of the API server."""
        ...

    def opted_in(self) -> bool:
        """Whether the namespace has agreed to faults."""
        ...

    def mesh_alive(self, run_id: str) -> str:
        """What showed that somebody executes faults and ends them.

        Asks with a fault of that run that can hit nobody. Raises RunError when nobody answers.
        """
        ...

    def plan(self, manifest: str, run_id: str) -> FaultPlan:
        """The fault of that manifest with this run's settings, labels and expiry; nothing is created."""
        ...

    def hit(self, plan: FaultPlan) -> Hit:
        """The pods that fault would hit now. Raises RefusedError when there are none or too many."""
        ...

    def gateways(self) -> list[PodSeen]:
        """The gateway's pods."""
        ...

    def engines(self) -> list[PodSeen]:
        """The engines' pods."""
        ...

    def hold_lease(self, run_id: str) -> None:
        """Take the namespace for this run and keep renewing. Raises RefusedError when another run has it."""
        ...

    def lease_lost(self) -> str:
        """Why the lease is no longer ours; empty while it is."""
        ...

    def release_lease(self) -> None:
        """Give the namespace back; nothing happens when it is not held."""
        ...

    def left_behind(self) -> list[LeftBehind]:
        """Faults of ours in the namespace, of whatever run."""
        ...

    def sweep(self, fault: LeftBehind) -> None:
        """Remove one of them and wait until it is gone."""
        ...

    def inject(self, plan: FaultPlan) -> Injected:
        """Create the fault and wait until it stands on every target. It may exist even when this raises."""
        ...

    def present(self, plan: FaultPlan) -> bool:
        """Whether the fault is still injected on every target."""
        ...

    def heal(self, plan: FaultPlan) -> None:
        """Remove the fault and wait until it is gone; a fault that is not there is healed."""
        ...

    def interval_s(self) -> float:
        """How often Prometheus scrapes what the claims are judged from."""
        ...

    def series(self, metrics: Sequence[str], window: Window) -> list[Series]:
        """The raw samples of those metrics in `window`.

        Raises UnmeasuredError when Prometheus does not answer.
        """
        ...

    def complete(self, prompt: Sequence[int], engine: str | None = None) -> Completion:
        """One token after that prompt, of that engine (a pod_key) or by whom requests come in.

        A refusal is an answer. Raises UnmeasuredError when there is nobody to ask.
        """
        ...

    def close(self) -> None:
        """Give connections back."""
        ...
