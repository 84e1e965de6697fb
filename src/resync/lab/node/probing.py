"""Readiness: ask the process over HTTP until it says yes, then now and then.

Kubelet's rules (Kubernetes documentation, "Configure liveness, readiness and startup probes"): 2xx and 3xx
are success; one success makes it ready, `failureThreshold` failures in a row make it unready. Until the
first success the lab asks every 50 ms, so a start does not wait for a period to pass. The probe goes to the
process's own address, past the link: readiness is about the process.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import aiohttp

from resync.lab.node.errors import PodSpecError
from resync.lab.node.objects import Pod, Probe

EAGER_PERIOD_S: Final = 0.05
_SUCCESS: Final = range(200, 400)


def port_of(pod: Pod, probe: Probe) -> int:
    """The number of the port asked. Raises PodSpecError for a name the container does not declare."""
    assert probe.http_get is not None
    wanted = probe.http_get.port
    if isinstance(wanted, int):
        return wanted
    ports = {port.name: port.container_port for port in pod.container.ports}
    if wanted not in ports:
        raise PodSpecError(f"pod {pod.key}: the readiness probe asks port {wanted!r}, which is not declared")
    return ports[wanted]


async def watch_readiness(
    session: aiohttp.ClientSession, pod: Pod, bind_ip: str, on_change: Callable[[bool], None]
) -> None:
    """Tell every change of readiness, until cancelled. A pod without an HTTP probe is ready at once."""
    probe = pod.container.readiness_probe
    if probe is None or probe.http_get is None:
        on_change(True)
        return
    url = f"http://{bind_ip}:{port_of(pod, probe)}{probe.http_get.path}"
    ready, failures, pause_s = False, 0, EAGER_PERIOD_S
    while True:
        if await _succeeds(session, url, probe.timeout_seconds):
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


async def _succeeds(session: aiohttp.ClientSession, url: str, timeout_s: float) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=timeout_s)) as answer:
            return answer.status in _SUCCESS
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return False
