"""Faults, executed by Chaos Mesh or by the lab's mesh, which has its semantics."""

from resync.run import faulting
from resync.run.activities import step
from resync.run.runs import Run

__all__ = ["heal", "inject"]


def inject(run_id: str, manifest: str) -> bool:
    """Create the fault of that manifest and wait until its effect is proven.

    `manifest` is a file of chaos-mesh/, or a path. Selectors, namespace and duration (of a delay: latency,
    jitter and direction too) are those of the run's settings. True once every target was seen to have it.
    Raises RunError when the fault exists already, is not injected on every target, or has no effect; whatever
    stands then is healed by the run.
    """
    return bool(step(run_id, "inject", lambda run: _injected(run, manifest)))


def _injected(run: Run, manifest: str) -> float:
    faulting.inject(run, manifest)
    return 1.0


def heal(run_id: str) -> float:
    """Remove the run's fault and wait until it is gone and all is as before; the seconds that took.

    0 when there is nothing to heal, so it serves as a rollback too. Raises RunError when the fault cannot be
    removed; it then expires by itself.
    """
    return step(run_id, "heal", faulting.conclude, begun=False)
