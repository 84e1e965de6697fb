"""What can go wrong between us and a cluster, in words a runner can act on.

Three questions decide what a caller does next, so every error answers them:

- **whose** fault it is: the `user` (a manifest, a selector, a kubeconfig), the `cluster` (the API server or
  the mesh), or the `network` between;
- whether it is **definite**: True means the request had no effect; False means it may have happened all the
  same, so look before acting again;
- whether it is **retryable**: the same call may succeed later without anybody changing anything.

Exceptions of the Kubernetes client and of urllib3 become these in one place, `resync.cluster.answers`.
"""

from typing import ClassVar, Literal

Whose = Literal["user", "cluster", "network"]


class ClusterError(Exception):
    """Anything this package raises; the message is for people, with the next step where there is one."""

    whose: ClassVar[Whose] = "cluster"
    retryable: ClassVar[bool] = False
    definite: bool = True


class KubeconfigError(ClusterError):
    """No usable way to reach a cluster was given."""

    whose: ClassVar[Whose] = "user"


class UnreachableError(ClusterError):
    """Nobody listens at the address: the request was never sent."""

    whose: ClassVar[Whose] = "network"
    retryable: ClassVar[bool] = True


class NoAnswerError(ClusterError):
    """The request was sent and no complete answer came back: it may have happened."""

    whose: ClassVar[Whose] = "network"
    retryable: ClassVar[bool] = True
    definite = False


class NotAnApiError(ClusterError):
    """Something answered, but not a Kubernetes API (a proxy's page, a truncated body)."""

    definite = False


class AnswerError(ClusterError):
    """The API server answered with a status that is not success."""

    def __init__(self, message: str, *, status: int, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class RefusedError(AnswerError):
    """The request itself was not acceptable (400, 403, 415, 422 ...), admission webhooks included."""

    whose: ClassVar[Whose] = "user"


class NotFoundError(AnswerError):
    """No such object, or no such kind (404)."""

    whose: ClassVar[Whose] = "user"


class AlreadyExistsError(AnswerError):
    """Another object has that name (409 AlreadyExists)."""

    whose: ClassVar[Whose] = "user"


class ConflictError(AnswerError):
    """Somebody changed the object in between (409 Conflict), or a precondition did not hold."""

    retryable: ClassVar[bool] = True


class GoneError(AnswerError):
    """The resource version asked for is no longer kept (410): list again."""

    retryable: ClassVar[bool] = True


class ServerFailedError(AnswerError):
    """The server could not serve (429 or 5xx). After a write, a 5xx leaves open whether it happened."""

    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, status: int, reason: str = "") -> None:
        super().__init__(message, status=status, reason=reason)
        self.definite = status == 429  # noqa: PLR2004  too many requests: turned away at the door


class ManifestError(ClusterError):
    """A fault manifest that would be refused, or worse: accepted and then never take effect or never end."""

    whose: ClassVar[Whose] = "user"


class SelectorError(ManifestError):
    """A selector this tool cannot evaluate exactly; guessing would name the wrong pods."""


class NoTargetsError(ClusterError):
    """A selector matches no pod."""

    whose: ClassVar[Whose] = "user"


class TooManyTargetsError(ClusterError):
    """A selector matches more pods than the blast-radius limit allows."""

    whose: ClassVar[Whose] = "user"


class MeshMissingError(ClusterError):
    """The cluster does not serve the kinds of a fault: Chaos Mesh's CRDs are not installed."""

    whose: ClassVar[Whose] = "user"


class MeshSilentError(ClusterError):
    """The kinds exist but nobody acts on them: no controller answers."""

    retryable: ClassVar[bool] = True


class FaultExistsError(ClusterError):
    """A fault of that name is already there, so nothing was injected by this call."""

    whose: ClassVar[Whose] = "user"


class NotInjectedError(ClusterError):
    """The fault was created and did not take effect on every target in time. It still exists: heal it."""

    definite = False


class NotHealedError(ClusterError):
    """The fault was asked to end and is still there."""

    definite = False


class LeaseHeldError(ClusterError):
    """Another run holds the namespace."""

    whose: ClassVar[Whose] = "user"
    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, holder: str, expires_s: float) -> None:
        super().__init__(message)
        self.holder = holder
        self.expires_s = expires_s


class LeaseLostError(ClusterError):
    """The lease we held is no longer ours: another holder took it, or it was deleted."""
