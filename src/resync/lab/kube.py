"""The small asynchronous Kubernetes client of the lab's own controllers (node, mesh).

They share one event loop with the link, so the official client's threads would disturb its timing; and they
need little: list, watch, create, merge-patch, delete. Objects stay JSON here; each controller parses the
few fields it knows into records of its own (unknown fields are none of its business).

`follow` is a list that never ends: what is there, then what changes, for as long as it is read. A watch that
expires (410), breaks or ends is resumed by listing again, and what vanished meanwhile is reported as
deleted; so a reader needs no resourceVersion and no bookmarks (Kubernetes API concepts, "efficient
detection of changes").
"""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
import yaml

from resync.lab import access

log = logging.getLogger(__name__)

Object = dict[str, Any]
"""One API object as JSON."""

CALL_TIMEOUT_S: Final = 10.0
WATCH_TIMEOUT_S: Final = 300
RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 2.0
EVENT_LINE_BYTES_MAX: Final = 4 * 1024 * 1024


class KubeError(Exception):
    """The API did not do what was asked; the message is the server's own sentence where there is one."""


class NotFoundError(KubeError):
    """404: there is no such object."""


class ConflictError(KubeError):
    """409: somebody changed or made the object first; read it again."""


class GoneError(KubeError):
    """410: the resourceVersion is too old; list again."""


class RefusedError(KubeError):
    """Another 4xx: the request is wrong and will be wrong again."""


class UnavailableError(KubeError):
    """The server cannot be reached or failed (5xx); nothing is known about what happened."""


class KubeconfigError(KubeError):
    """The kubeconfig cannot be used: the caller's mistake."""


_BY_STATUS: Final[Mapping[int, type[KubeError]]] = {404: NotFoundError, 409: ConflictError, 410: GoneError}


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API keeps it."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The URL path; namespace None means the collection over all namespaces (or a cluster-wide kind)."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        middle = f"/namespaces/{namespace}" if namespace is not None else ""
        tail = "".join(f"/{part}" for part in (self.plural, name, subresource) if part)
        return f"{root}{middle}{tail}"


PODS: Final = Resource("v1", "Pod", "pods")
NODES: Final = Resource("v1", "Node", "nodes")
NAMESPACES: Final = Resource("v1", "Namespace", "namespaces")
EVENTS: Final = Resource("v1", "Event", "events")
DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"
)
DEPLOYMENTS: Final = Resource("apps/v1", "Deployment", "deployments")
REPLICA_SETS: Final = Resource("apps/v1", "ReplicaSet", "replicasets")
STATEFUL_SETS: Final = Resource("apps/v1", "StatefulSet", "statefulsets")
NETWORK_CHAOS: Final = Resource("chaos-mesh.org/v1alpha1", "NetworkChaos", "networkchaos")
POD_CHAOS: Final = Resource("chaos-mesh.org/v1alpha1", "PodChaos", "podchaos")
POD_NETWORK_CHAOS: Final = Resource("chaos-mesh.org/v1alpha1", "PodNetworkChaos", "podnetworkchaos")


class Verb(StrEnum):
    """What happened to a followed object."""

    PRESENT = "present"
    """It is there, new or changed."""
    DELETED = "deleted"
    """It is gone; the object is its last known form."""
    SYNCED = "synced"
    """Everything that was there has been reported; `object` is empty. Comes once after each list."""


@dataclass(frozen=True, slots=True)
class Change:
    """One step of `follow`."""

    verb: Verb
    object: Object


def key_of(item: Object) -> tuple[str, str]:
    """Namespace ("" for none) and name."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Kube:
    """A connection to one API server: `async with Kube.connect(kubeconfig) as kube`."""

    def __init__(self, server: str, *, token: str | None, tls: ssl.SSLContext | None) -> None:
        self._server = server.rstrip("/")
        self._headers = {"Accept": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        self._tls = tls
        self._open: aiohttp.ClientSession | None = None

    @classmethod
    def connect(cls, kubeconfig: Path) -> Self:
        """A client for the current context of the file. Raises KubeconfigError."""
        try:
            found = access.read(kubeconfig)
            return cls(found.server, token=found.token, tls=access.tls(found, kubeconfig.parent))
        except (
            OSError,
            KeyError,
            StopIteration,
            yaml.YAMLError,
            ssl.SSLError,
            msgspec.ValidationError,
        ) as error:
            raise KubeconfigError(f"{kubeconfig} is not a usable kubeconfig: {error!r}") from error

    async def __aenter__(self) -> Self:
        """Open the session."""
        connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True, limit=0)
        self._open = aiohttp.ClientSession(
            connector=connector, headers=self._headers, read_bufsize=EVENT_LINE_BYTES_MAX
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._open is not None:
            await self._open.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object. Raises NotFoundError and the other KubeErrors."""
        return await self._call("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, namespace: str | None = None, labels: str = ""
    ) -> tuple[Sequence[Object], str]:
        """Every object of the kind (the selector fits), and the version of the list. Raises KubeError."""
        query = f"?{urlencode({'labelSelector': labels})}" if labels else ""
        answer = await self._call("GET", resource.path(namespace) + query)
        return answer.get("items") or [], answer["metadata"].get("resourceVersion", "")

    async def document(self, path: str) -> Object:
        """What the server says about itself at that path (discovery). Raises KubeError."""
        return await self._call("GET", path)

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Object,
        *,
        name: str = "",
        subresource: str = "",
    ) -> Object:
        """The object as the server made it. Raises ConflictError when the name is taken, other KubeErrors."""
        filled = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return await self._call("POST", resource.path(namespace, name, subresource), filled)

    async def patch(
        self, resource: Resource, namespace: str | None, name: str, body: Object, *, subresource: str = ""
    ) -> Object:
        """The object after a merge-patch (RFC 7386).

        With `metadata.resourceVersion` in `body` it applies only to that version: ConflictError otherwise.
        """
        path = resource.path(namespace, name, subresource)
        return await self._call("PATCH", path, body, content_type="application/merge-patch+json")

    async def replace(
        self, resource: Resource, namespace: str | None, name: str, body: Object, *, subresource: str = ""
    ) -> Object:
        """The object (or its subresource) replaced; only the version in `body`: ConflictError otherwise."""
        return await self._call("PUT", resource.path(namespace, name, subresource), body)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        grace_s: int | None = None,
        propagation: str = "",
    ) -> None:
        """Delete, only the object with this uid if one is given. Raises NotFoundError, ConflictError.

        `propagation` (Background, Foreground, Orphan) is what becomes of its dependents.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if propagation:
            options["propagationPolicy"] = propagation
        await self._call("DELETE", resource.path(namespace, name), options)

    async def follow(self, resource: Resource, namespace: str | None = None) -> AsyncIterator[Change]:
        """What is there and what changes, for ever; never raises for what a new list can mend."""
        known: dict[tuple[str, str], Object] = {}
        pause_s = RETRY_FIRST_S
        while True:
            try:
                items, version = await self.list(resource, namespace)
                for change in _difference(known, items):
                    yield change
                yield Change(Verb.SYNCED, {})
                async for change in self._watch(resource, namespace, version, known):
                    pause_s = RETRY_FIRST_S
                    yield change
            except GoneError:
                continue
            except (UnavailableError, NotFoundError) as error:
                log.warning("%s: %s; listing again in %.2f s", resource.plural, error, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MAX_S)

    async def _watch(
        self, resource: Resource, namespace: str | None, version: str, known: dict[tuple[str, str], Object]
    ) -> AsyncIterator[Change]:
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_TIMEOUT_S)}
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CALL_TIMEOUT_S)
        url = self._server + resource.path(namespace)
        try:
            async with self._session.get(url, params=query, timeout=limits) as answer:
                await _raise_for(answer)
                async for line in answer.content:
                    change = _change(json.loads(line), known)
                    if change is not None:
                        yield change
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError, ConnectionError) as error:
            raise UnavailableError(f"the watch broke: {error!r}") from error

    async def _call(
        self, method: str, path: str, body: Object | None = None, *, content_type: str = "application/json"
    ) -> Object:
        limits = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": content_type} if body is not None else {}
        try:
            async with self._session.request(
                method, self._server + path, data=data, headers=headers, timeout=limits
            ) as answer:
                await _raise_for(answer)
                found: Object = await answer.json()
                return found
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise UnavailableError(f"the API server did not answer {method} {path}: {error!r}") from error

    @property
    def _session(self) -> aiohttp.ClientSession:
        assert self._open is not None
        return self._open


def _difference(known: dict[tuple[str, str], Object], items: Sequence[Object]) -> Sequence[Change]:
    """What a new list says against what was known; `known` becomes the list."""
    listed = {key_of(item): item for item in items}
    gone = [
        Change(Verb.DELETED, old)
        for key, old in known.items()
        if key not in listed or listed[key]["metadata"].get("uid") != old["metadata"].get("uid")
    ]
    fresh = [Change(Verb.PRESENT, item) for key, item in listed.items() if known.get(key) != item]
    known.clear()
    known.update(listed)
    return gone + fresh


def _change(event: Object, known: dict[tuple[str, str], Object]) -> Change | None:
    """One line of a watch, None for a bookmark. Raises GoneError or UnavailableError for an ERROR line."""
    kind, item = event["type"], event["object"]
    if kind == "ERROR":
        error = GoneError if item.get("code") == 410 else UnavailableError  # noqa: PLR2004  410 Gone
        raise error(str(item.get("message", item)))
    if kind == "BOOKMARK":
        return None
    if kind == "DELETED":
        known.pop(key_of(item), None)
        return Change(Verb.DELETED, item)
    known[key_of(item)] = item
    return Change(Verb.PRESENT, item)


async def _raise_for(answer: aiohttp.ClientResponse) -> None:
    if answer.status < 400:  # noqa: PLR2004  HTTP: below 400 is success
        return
    text = await answer.text()
    try:
        message = json.loads(text)["message"]
    except (json.JSONDecodeError, KeyError, TypeError):
        message = text[:200] or str(answer.reason)
    fallback = UnavailableError if answer.status >= 500 or answer.status == 429 else RefusedError  # noqa: PLR2004
    raise _BY_STATUS.get(answer.status, fallback)(f"{message} ({answer.status})")
