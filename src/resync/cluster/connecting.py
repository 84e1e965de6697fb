"""One connection to one cluster, chosen explicitly.

The official client gives us configuration, credentials, TLS and the connection pool. What it does not give is
set here, once: a limit on every call, no hidden retries (urllib3 would repeat each call three times), no
proxy for a loopback address, and never a cluster nobody named: `KUBECONFIG` and `~/.kube/config` are not
consulted, because an experiment that reaches the user's own cluster by accident is the worst thing this tool
could do.

Bodies are decoded by `msgspec` into our own records, not into the client's models: those validate every field
of every object and raise on a pod that lacks one we never read.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypedDict, TypeVar, Unpack, cast
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import urllib3

from resync.cluster import answers, errors
from resync.kits.reading import read_json
from resync.kits.shields import UNSHIELDED, Shield
from resync.kits.urls import is_loopback

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

T = TypeVar("T")

MERGE_PATCH = "application/merge-patch+json"
_SUCCESS = range(200, 300)


class StreamingAnswer(Protocol):
    """A response whose body is still arriving (a `urllib3.HTTPResponse`)."""

    def read1(self, amt: int) -> bytes:
        """Up to `amt` bytes as they arrive; empty at the end."""
        ...

    def shutdown(self) -> None:
        """Unblock a read that another thread is in."""
        ...

    def close(self) -> None:
        """Give up the connection."""
        ...


class Answered(msgspec.Struct, frozen=True):
    """What came back, whatever its status; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _More(TypedDict, total=False):
    """What a request may have beside its method and path."""

    query: Mapping[str, str] | None
    body: object
    content_type: str | None
    headers: Mapping[str, str] | None


class _Version(msgspec.Struct, frozen=True):
    git_version: str = msgspec.field(name="gitVersion", default="unknown")


def _shown(url: str) -> str:
    """The URL without credentials or path: a path may be a secret too, and this ends up in evidence."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}"


def _from_file(configuration: "Configuration", kubeconfig: Path, context: str | None) -> None:
    # Imported here: the client costs 0.3 s, and `chaos validate` needs none of it.
    import yaml
    from kubernetes.config import ConfigException, load_kube_config

    if not kubeconfig.is_file():
        raise errors.KubeconfigError(
            f"there is no kubeconfig at {kubeconfig}; `resync lab up` prints the lab's"
        )
    try:
        load_kube_config(  # type: ignore[no-untyped-call]
            str(kubeconfig), context, client_configuration=configuration, persist_config=False
        )
    except (ConfigException, yaml.YAMLError, KeyError, TypeError, ValueError) as problem:
        raise errors.KubeconfigError(f"{kubeconfig} is not a usable kubeconfig: {problem}") from problem


def _from_pod(configuration: "Configuration") -> None:
    from kubernetes.config import ConfigException, load_incluster_config

    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except ConfigException as problem:
        raise errors.KubeconfigError(
            f"in-cluster credentials were asked for, but this is no pod: {problem}; name a kubeconfig"
        ) from problem


def _configure(kubeconfig: Path | None, context: str | None) -> "Configuration":
    from kubernetes.client import Configuration

    configuration = Configuration()
    if kubeconfig is None:
        _from_pod(configuration)
    else:
        _from_file(configuration, kubeconfig, context)
    configuration.retries = urllib3.Retry(total=0, redirect=0)
    if is_loopback(configuration.host):
        configuration.proxy = None
    return configuration


class Cluster:
    """A connection to one API server.

    Every call is bounded by `timeout_s`; errors are `resync.cluster.errors`.

    Safe to use from several threads. `host` is the server's URL as messages may show it, without path. A
    request and its answer are one stretch inside `shield`; a stream, read while it arrives, is not.
    """

    def __init__(self, api_client: "ApiClient", *, timeout_s: float, shield: Shield = UNSHIELDED) -> None:
        self.api_client = api_client
        self.host = _shown(api_client.configuration.host)
        self.shield = shield
        self._timeout_s = timeout_s

    @classmethod
    def connect(
        cls,
        kubeconfig: Path | None,
        *,
        context: str | None = None,
        timeout_s: float = 5.0,
        shield: Shield = UNSHIELDED,
    ) -> Self:
        """A connection by that file, or by the pod's own credentials when it is None. No request is made yet.

        Raises KubeconfigError.
        """
        from kubernetes.client import ApiClient

        return cls(ApiClient(_configure(kubeconfig, context)), timeout_s=timeout_s, shield=shield)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back; the object is unusable afterwards."""
        self.api_client.close()  # type: ignore[no-untyped-call]

    def ready(self) -> str:
        """The server's version, once it answers. Raises ClusterError."""
        return self.get("/version", _Version).git_version

    def get(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> T:
        """The object at `path`, decoded. Raises ClusterError, NotFoundError among them."""
        return decoded(self.request("GET", path, query=query), kind, f"GET {path}")

    def send(
        self, method: str, path: str, body: object, kind: type[T], *, content_type: str | None = None
    ) -> T:
        """What the server answers to a write, decoded. Raises ClusterError."""
        return decoded(
            self.request(method, path, body=body, content_type=content_type), kind, f"{method} {path}"
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str | None = None,
    ) -> bytes:
        """The body of a successful answer. Raises ClusterError."""
        asked = f"{method} {path}"
        return self._talk(
            method,
            path,
            lambda response: self._checked(response, asked),
            query=query,
            body=body,
            content_type=content_type,
        )

    def carry(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> Answered:
        """The answer of a pod behind the API's proxy; a refusal is an answer too. Raises ClusterError."""
        asked = f"{method} {path}"
        return self._talk(
            method, path, lambda response: self._answered(response, asked), body=body, headers=headers
        )

    def stream(self, path: str, query: Mapping[str, str], *, silence_s: float) -> StreamingAnswer:
        """A successful answer whose body is still to be read; `silence_s` without a byte is an error.

        Raises ClusterError.
        """
        response = self._exchange("GET", path, query=query)
        if response.status not in _SUCCESS:
            try:
                self._checked(response, f"GET {path}")
            finally:
                response.close()
        # The head had to come within the ordinary limit; only the body may be silent for longer.
        sock = getattr(response.connection, "sock", None)
        if sock is not None:
            sock.settimeout(silence_s)
        return cast("StreamingAnswer", response)

    def _talk(
        self, method: str, path: str, read: Callable[[urllib3.HTTPResponse], T], **more: Unpack[_More]
    ) -> T:
        """What `read` makes of the answer, in one stretch: the response is disposed of inside it too."""
        with self.shield():
            response = self._exchange(method, path, **more)
            try:
                return read(response)
            finally:
                response.release_conn()
                del response

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> urllib3.HTTPResponse:
        headers = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        # `param_serialize` also refreshes credentials; a query of ours is appended already escaped.
        url_path = f"{path}?{urlencode(query)}" if query else path
        call = self.api_client.param_serialize(
            method, url_path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            answer = self.api_client.call_api(*call, _request_timeout=self._timeout_s)
        except urllib3.exceptions.HTTPError as problem:
            raise answers.error_without_answer(problem, f"{method} {path}", self.host) from problem
        return cast("urllib3.HTTPResponse", answer.response)

    def _answered(self, response: urllib3.HTTPResponse, asked: str) -> Answered:
        try:
            said = {name.lower(): value for name, value in response.headers.items()}
            return Answered(response.status, said, response.data)
        except urllib3.exceptions.HTTPError as problem:
            raise answers.error_without_answer(problem, asked, self.host) from problem

    def _checked(self, response: urllib3.HTTPResponse, asked: str) -> bytes:
        try:
            body = response.data
        except urllib3.exceptions.HTTPError as problem:
            raise answers.error_without_answer(problem, asked, self.host) from problem
        if response.status not in _SUCCESS:
            raise answers.error_for(response.status, body, asked)
        return body


def decoded(body: bytes, kind: type[T], asked: str) -> T:
    """`body` as `kind`. Raises NotAnApiError when it is something else."""
    try:
        return read_json(body, kind)
    except msgspec.MsgspecError as problem:
        raise errors.NotAnApiError(
            f"the answer to {asked} is not what a Kubernetes API sends ({problem}): {body[:120]!r}"
        ) from problem


def path_of(*parts: str) -> str:
    """An API path of those segments, each escaped: `path_of("api", "v1", "pods")` is `/api/v1/pods`."""
    return "/" + "/".join(quote(part, safe="") for part in parts)
