"""A fault that exists, as everything that deals with it names it."""

import msgspec

from resync.cluster.kinds import KINDS

RUN_LABEL = "resync.dev/run"
MANAGED_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "resync"


class AppliedFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that exists.

    `created_s` is its creationTimestamp (whole seconds): `duration_s` counts from it.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    run_id: str
    created_s: float
    duration_s: float

    @property
    def expires_s(self) -> float:
        """Epoch seconds at which the mesh ends it by itself."""
        return self.created_s + self.duration_s

    @property
    def path(self) -> str:
        """Where the API keeps it."""
        return KINDS[self.kind].path(self.namespace, self.name)

    def __str__(self) -> str:
        """How messages name it."""
        return f"{self.kind} {self.namespace}/{self.name}"
