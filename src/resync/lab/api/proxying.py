"""The `proxy` subresource of a pod: a request carried to one of its ports, and the answer back.

As kubernetes/kubernetes, pkg/registry/core/pod/strategy.go (`ResourceLocation`) and the proxy handler behind
it: `/api/v1/namespaces/NAMESPACE/pods/[SCHEME:]NAME[:PORT]/proxy/PATH`, any method, query and body. A pod
that cannot be reached is answered with 503 and the words of the real server. Only plain HTTP is carried here.
"""

import re
from typing import NamedTuple

import aiohttp
from aiohttp import web

from resync.lab.api import errors
from resync.lab.api.objects import section
from resync.lab.api.targets import parse_path
from resync.lab.api.verbs import Verbs

LIMITS = aiohttp.ClientTimeout(total=30.0, sock_connect=5.0)
ANSWER_BYTES_MAX = 8 << 20
CHUNK_BYTES = 64 << 10
_PATH = re.compile(
    r"(/api/v1/namespaces/[^/]+/pods/)(?:(?P<scheme>https?):)?(?P<name>[^/:]+)(?::(?P<port>\d+))?"
    r"/proxy(?P<path>/.*)?"
)
_OURS = {"connection", "host", "transfer-encoding", "content-length", "accept-encoding", "authorization"}
"""Headers that are about the way to this server, not for the pod."""

_OF_THE_WAY = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "content-encoding",
    "server",
    "date",
}
"""Headers of an answer that are about the way from the pod, not for whoever asked."""


class Way(NamedTuple):
    """A request to be carried: the pod's own path in the API, its port and the path there."""

    pod_path: str
    port: int
    path: str


def way_of(path: str) -> Way | None:
    """Where a path of the API leads through a pod; None for every other path. Raises ApiError 400."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    if found["scheme"] == "https":
        raise errors.bad_request("the lab carries plain HTTP only")
    return Way(found[1] + found["name"], int(found["port"] or 80), found["path"] or "/")


async def carry(
    request: web.Request, session: aiohttp.ClientSession, verbs: Verbs, way: Way
) -> web.StreamResponse:
    """What the pod answers. Raises ApiError 404 without such a pod, 503 when it cannot be reached."""
    target = parse_path(way.pod_path, verbs.catalogue)
    assert target is not None, "a path that names a pod is a target. This is a bug."
    ip = section(verbs.get(target).body, "status").get("podIP")
    if not ip:
        raise errors.unavailable("address not allowed: the pod has none yet")
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _OURS}
    try:
        async with session.request(
            request.method,
            f"http://{ip}:{way.port}{way.path}",
            params=request.query,
            data=await request.read(),
            headers=headers,
            timeout=LIMITS,
            allow_redirects=False,
        ) as answer:
            body = await _whole(answer)
            told = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_THE_WAY}
            told.setdefault("Content-Type", "application/octet-stream")
            return web.Response(body=body, status=answer.status, headers=told)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise errors.unavailable(f"error trying to reach service: {type(error).__name__} {error}") from error


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise errors.unavailable(f"the pod answered with more than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)
