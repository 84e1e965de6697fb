"""Readiness: ask the process over HTTP, or connect to it, until it says yes, then now and then.

Kubelet's rules (Kubernetes documentation, "Configure liveness, readiness and startup probes"): 2xx and 3xx
are success; one success makes it ready, `failureThreshold` failures in a row make it unready. Until the
first success the lab asks every 50 ms, so a start does not wait for a period to pass. The probe goes to the
process's own address, past the link: readiness is about the process.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from resync.lab.node.errors import PodSpecError
from resync.lab.node.objects import Pod, Probe

EAGER_PERIOD_S: Final = 0.05
_SUCCESS: Final = range(200, 400)


def port_of(pod: Pod, wanted: int | str) -> int:
    """The number of the port asked. Raises PodSpecError for a name the container does not declare."""
    if isinstance(wanted, int):
        return wanted
    ports = {port.name: port.container_port for port in pod.container.ports}
    if wanted not in ports:
        raise PodSpecError(f"pod {pod.key}: the readiness probe asks port {wanted!r}, which is not declared")
    return ports[wanted]


async def watch_readiness(
    session: aiohttp.ClientSession, pod: Pod, bind_ip: str, on_change: Callable[[bool], None]
) -> None:
    """Tell every change of readiness, until cancelled. A pod without such a probe is ready at once."""
    probe = pod.container.readiness_probe
    asked = _question(session, pod, probe, bind_ip) if probe is not None else None
    if probe is None or asked is None:
        on_change(True)
        return
    ready, failures, pause_s = False, 0, EAGER_PERIOD_S
    while True:
        if await asked():
            failures, pause_s = 0, float(probe.period_seconds)
            if not ready:
                ready = True
                on_change(ready)
        else:
            failures += 1
            if ready and failures >= probe.failure_threshold:
                ready = False
                on_change(ready)
        await asyncio.sleep(pause_s)


def _question(
    session: aiohttp.ClientSession, pod: Pod, probe: Probe, bind_ip: str
) -> Callable[[], Awaitable[bool]] | None:
    """What is asked each time; None for a kind of probe this node does not know."""
    limit_s = probe.timeout_seconds
    if probe.http_get is not None:
        url = f"http://{bind_ip}:{port_of(pod, probe.http_get.port)}{probe.http_get.path}"
        return lambda: _succeeds(session, url, limit_s)
    if probe.tcp_socket is not None:
        port = port_of(pod, probe.tcp_socket.port)
        return lambda: _accepts(bind_ip, port, limit_s)
    return None


async def _accepts(host: str, port: int, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _succeeds(session: aiohttp.ClientSession, url: str, timeout_s: float) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=timeout_s)) as answer:
            return answer.status in _SUCCESS
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return False
