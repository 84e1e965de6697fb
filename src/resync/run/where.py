"""Where a run happens.

Said by RESYNC_TARGET, by default the lab. Never whatever cluster happens to be at hand.

Inside a pod it has to be said: there the lab would be a surprise, and so would the cluster around it.
"""

from collections.abc import Mapping

from resync.run.errors import RefusedError, SettingsError
from resync.run.settings import Target

TARGET_ENV = "RESYNC_TARGET"
IN_POD_ENV = "KUBERNETES_SERVICE_HOST"
HOME_CLIENT = "chaosk8s"
"""Activities of this package reach whatever cluster the user's own kubeconfig names."""


def target_of(environment: Mapping[str, str]) -> Target:
    """The target named by the environment.

    Raises RefusedError inside a pod that does not say, SettingsError for a word that is no target.
    """
    said = environment.get(TARGET_ENV, "").strip()
    if said:
        try:
            return Target(said)
        except ValueError as error:
            raise SettingsError(
                f"{TARGET_ENV}={said!r} is neither lab nor cluster",
                next_step=f"set {TARGET_ENV} to one of them",
            ) from error
    if environment.get(IN_POD_ENV):
        raise RefusedError(
            f"this runs inside a pod and {TARGET_ENV} is not set",
            next_step=f"set {TARGET_ENV}=cluster to use the cluster around it, or {TARGET_ENV}=lab",
        )
    return Target.LAB


def stray_activities(experiment: Mapping[str, object]) -> list[str]:
    """Names of activities that would talk to the user's own cluster from an experiment on the lab."""
    hypothesis = experiment.get("steady-state-hypothesis")
    probes = hypothesis.get("probes", []) if isinstance(hypothesis, Mapping) else []
    sections = (probes, experiment.get("method", []), experiment.get("rollbacks", []))
    activities = [
        a for section in sections if isinstance(section, list) for a in section if isinstance(a, Mapping)
    ]
    return [str(a.get("name")) for a in activities if _module(a).split(".")[0] == HOME_CLIENT]


def _module(activity: Mapping[str, object]) -> str:
    provider = activity.get("provider")
    return str(provider.get("module", "")) if isinstance(provider, Mapping) else ""


def refuse_strays(experiment: Mapping[str, object], target: Target) -> None:
    """Raises RefusedError when an experiment on the lab would reach the user's own cluster."""
    strays = stray_activities(experiment) if target is Target.LAB else []
    if strays:
        raise RefusedError(
            f"{strays[0]!r} uses {HOME_CLIENT}: it would act on your own cluster, not on the lab",
            next_step="use probes.pods and actions.chaos_mesh, or run with RESYNC_TARGET=cluster",
        )
