"""The `log` subresource of a pod: asked of the pod's node, which has the files.

As kubernetes/kubernetes, pkg/registry/core/pod/rest/log.go: the node's address and port stand in its Node
object, the path is kubelet's `/containerLogs/NAMESPACE/POD/CONTAINER`. The lab's node speaks plain HTTP on
loopback.
"""

from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
from aiohttp import web

from resync.lab.api import errors
from resync.lab.api.objects import JsonObject, section
from resync.lab.api.targets import Target
from resync.lab.api.verbs import Verbs

LOG = "log"
CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 30.0
"""How long a node may say nothing while it answers; a log that is followed may be silent for ever."""
CHUNK_BYTES = 64 * 1024
_NODES = ("", "nodes")


def address_of(verbs: Verbs, target: Target, query: Mapping[str, str]) -> str:
    """The URL at which the pod's node has the log. Raises ApiError 400, 404, 500."""
    pod = verbs.get(target).body
    container = _container(pod, target.name, query.get("container", ""))
    node_name = section(pod, "spec").get("nodeName")
    if not node_name:
        raise errors.bad_request(f"pod {target.name} does not have a host assigned")
    node = verbs.store.shelf(_NODES).items.get(("", node_name))
    status = section(node.body, "status") if node else {}
    port = section(section(status, "daemonEndpoints"), "kubeletEndpoint").get("Port")
    hosts = [one["address"] for one in status.get("addresses") or () if one.get("type") == "InternalIP"]
    if not port or not hosts:
        raise errors.internal(f"node {node_name} does not say where it serves logs")
    return f"http://{hosts[0]}:{port}/containerLogs/{target.namespace}/{target.name}/{container}"


def _container(pod: JsonObject, name: str, asked: str) -> str:
    known = [str(container["name"]) for container in pod["spec"]["containers"]]
    if asked and asked not in known:
        raise errors.bad_request(f"container {asked} is not valid for pod {name}")
    if not asked and len(known) > 1:
        raise errors.bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{' '.join(known)}]"
        )
    return asked or known[0]


async def relay(request: web.Request, session: aiohttp.ClientSession, url: str) -> web.StreamResponse:
    """What the node says, as it says it, until it has said all or the client leaves. Raises ApiError."""
    silence_s = None if request.query.get("follow") == "true" else SILENCE_TIMEOUT_S
    limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=silence_s)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    try:
        async with session.get(url, params=dict(request.query), timeout=limits) as answer:
            if answer.status != HTTPStatus.OK:
                raise _refusal(answer.status, await answer.text())
            await response.prepare(request)
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                await response.write(chunk)
    except (aiohttp.ClientError, ConnectionError) as error:
        if not response.prepared:
            raise errors.internal(f"the node does not answer: {error}") from error
    return response


def _refusal(status: int, sentence: str) -> errors.ApiError:
    if status == HTTPStatus.BAD_REQUEST:
        return errors.bad_request(sentence)
    return errors.internal(f"the node answered {status}: {sentence}")
