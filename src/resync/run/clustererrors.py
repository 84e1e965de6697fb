"""What an error of the cluster client means for a run, and what to do next about it."""

import contextlib
from collections.abc import Iterator

from resync.cluster import errors
from resync.run.errors import RefusedError, RunError, UnmeasuredError

STEPS: tuple[tuple[type[errors.ClusterError], str], ...] = (
    (
        errors.LeaseHeldError,
        "wait until the other run is over, or use another namespace (RESYNC_NAMESPACE)",
    ),
    (errors.NotFoundError, "see that RESYNC_NAMESPACE names a namespace that exists"),
    (errors.NoTargetsError, "correct RESYNC_GATEWAY_SELECTOR or RESYNC_ENGINE_SELECTOR"),
    (errors.TooManyTargetsError, "narrow the selectors, or raise RESYNC_TARGETS_MAX on purpose"),
    (errors.FaultExistsError, "remove it with `resync sweep`, then run again"),
    (errors.MeshMissingError, "install Chaos Mesh in this cluster"),
    (
        errors.MeshSilentError,
        "see that Chaos Mesh runs (on the lab: resync lab down, then up), or raise RESYNC_MESH_LIMIT",
    ),
    (errors.NotInjectedError, "see what the mesh says: kubectl describe networkchaos,podchaos"),
    (errors.NotHealedError, "run `resync sweep`; the fault also expires by itself"),
    (errors.KubeconfigError, "name a kubeconfig in RESYNC_KUBECONFIG"),
    (errors.ManifestError, "correct the manifest"),
)


def step_for(error: errors.ClusterError) -> str:
    """What to do about that error, for the `next_step` of one of a run."""
    found = next((step for kind, step in STEPS if isinstance(error, kind)), "")
    return found or "see that the API server answers (kubectl get pods), then run again"


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """Turn an error of the cluster client into one of a run.

    Refused when nothing happened, unmeasured otherwise.
    """
    try:
        yield
    except errors.ClusterError as error:
        kind: type[RunError] = RefusedError if error.definite else UnmeasuredError
        raise kind(str(error), next_step=step_for(error)) from error
