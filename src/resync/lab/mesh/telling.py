"""Sends the mesh's notices to the API as Events, behind the work.

Late, in order, and lost rather than in the way.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from resync.kits.clocks import Clock
from resync.lab.kube import EVENTS, Kube, KubeError, Object, Resource
from resync.lab.mesh.notices import Notice, cluster_event
from resync.lab.metadata import Metadata

log = logging.getLogger(__name__)

WAITING_MAX: Final = 1000


class Teller:
    """A bounded queue of Events and the loop that empties it."""

    def __init__(self, kube: Kube, clock: Clock) -> None:
        self._kube = kube
        self._clock = clock
        self._waiting: asyncio.Queue[Object] = asyncio.Queue(WAITING_MAX)
        self._last_ns = 0

    def tell(self, about: Metadata, resource: Resource, notices: Iterable[Notice]) -> None:
        """Send these soon. When too many wait they are dropped, and the log says so."""
        for notice in notices:
            # Names carry the time, so two notices may not share one.
            self._last_ns = max(int(self._clock.wall_s() * 1e9), self._last_ns + 1)
            event = cluster_event(notice, about, resource.kind, resource.api_version, self._last_ns)
            try:
                self._waiting.put_nowait(event)
            except asyncio.QueueFull:
                log.warning("dropped an event about %s: %s", about.key, notice.message)

    async def work(self) -> None:
        """Send what is told, until cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                await self._kube.create(EVENTS, event["metadata"]["namespace"], event)
            except KubeError as error:
                log.warning("an event was lost: %s", error)
