"""One completion, asked of a pod through the API server's proxy: the same way on a laptop and on a cluster.

The pod is an engine, or whatever requests enter the serving stack by (the gateway itself, or the Envoy in
front of AIBrix). A gateway says in `target-pod` where it sent the request (AIBrix, response headers); an
engine says in `cached_tokens` how much of the prompt it had (vLLM, `--enable-prompt-tokens-details`).
"""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from resync.cluster.connecting import Cluster, path_of
from resync.cluster.errors import NoAnswerError
from resync.cluster.pods import Pod
from resync.kits.reading import read_json

UNANSWERED = 0
_HEADERS = {"routing-strategy": "prefix-cache"}
"""AIBrix routes by prefix only where it is asked to; others ignore it."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: the HTTP status (0: nothing in time), the reused tokens, and what a gateway says.

    `cached_tokens` is None where the engine does not tell. `target` is a pod's name, `selection` why it was
    chosen; both are empty where nobody says.
    """

    status: int
    cached_tokens: int | None = None
    target: str = ""
    selection: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was carried out."""
        return self.status == HTTPStatus.OK


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens_details: _Details | None = None


class _Body(msgspec.Struct, frozen=True):
    usage: _Usage | None = None


def complete(cluster: Cluster, pod: Pod, port: int, *, model: str, prompt: Sequence[int]) -> Completion:
    """One token after that prompt. Raises ClusterError when the API server itself cannot be asked."""
    proxy = path_of("api", "v1", "namespaces", pod.namespace, "pods", f"{pod.name}:{port}", "proxy")
    body = {"model": model, "prompt": list(prompt), "max_tokens": 1}
    try:
        answer = cluster.carry("POST", f"{proxy}/v1/completions", body, _HEADERS)
    except NoAnswerError:
        return Completion(status=UNANSWERED)
    return Completion(
        status=answer.status,
        cached_tokens=_cached(answer.body) if answer.status == HTTPStatus.OK else None,
        target=answer.headers.get("target-pod", ""),
        selection=answer.headers.get("x-routing-selection", ""),
    )


def _cached(body: bytes) -> int | None:
    try:
        usage = read_json(body, _Body).usage
    except msgspec.MsgspecError:
        return None
    details = usage.prompt_tokens_details if usage else None
    return details.cached_tokens if details else None
