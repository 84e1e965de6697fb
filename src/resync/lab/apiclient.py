"""The supervisor's own few calls to the Kubernetes API, from its event loop.

It knows a kubeconfig and nothing of the server behind it. Every call has a limit, so a start that is given up
is given up at once.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
import yaml

from resync.lab.errors import LabError

CALL_TIMEOUT_S = 5.0
MERGE_PATCH = "application/merge-patch+json"
_FAILURES = 400


class ApiCallError(LabError):
    """The API refused a call or could not be reached. `status` is 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _ClusterEntry(msgspec.Struct, frozen=True):
    server: str


class _UserEntry(msgspec.Struct, frozen=True):
    token: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    cluster: _ClusterEntry


class _NamedUser(msgspec.Struct, frozen=True):
    user: _UserEntry = _UserEntry()


class _Kubeconfig(msgspec.Struct, frozen=True):
    clusters: list[_NamedCluster]
    users: list[_NamedUser] = []


class LabApi:
    """`async with LabApi(kubeconfig)`: calls to that API server.

    Only what a lab's kubeconfig has is read: one cluster, one user, a token or nothing.
    """

    def __init__(self, kubeconfig: Path) -> None:
        found = msgspec.convert(yaml.safe_load(kubeconfig.read_text()), _Kubeconfig)
        token = found.users[0].user.token if found.users else ""
        self._session = aiohttp.ClientSession(
            found.clusters[0].cluster.server,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
        )

    async def __aenter__(self) -> Self:
        """Nothing is asked yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._session.close()

    async def get(self, path: str) -> bytes:
        """The body of the answer. Raises ApiCallError."""
        return await self._call("GET", path)

    async def create(self, path: str, manifest: object) -> None:
        """Create the object in the collection at `path`. Raises ApiCallError, also when it exists."""
        await self._call("POST", path, manifest)

    async def merge(self, path: str, patch: object) -> None:
        """Merge `patch` into the object. Raises ApiCallError."""
        await self._call("PATCH", path, patch, MERGE_PATCH)

    async def delete(self, path: str) -> None:
        """Ask for the object's deletion. Raises ApiCallError."""
        await self._call("DELETE", path)

    async def _call(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> bytes:
        data = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": content_type}
        try:
            async with self._session.request(method, path, data=data, headers=headers) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiCallError(
                f"{method} {path}: the lab's Kubernetes API did not answer: {error!r}"
            ) from error
        if answer.status >= _FAILURES:
            said = text[:300].decode(errors="replace")
            raise ApiCallError(f"{method} {path}: answered {answer.status}: {said}", answer.status)
        return text
