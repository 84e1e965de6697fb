"""What the controllers tell a person who asks `kubectl describe`: Events, lost rather than in the way."""

import logging
from typing import Final

from resync.kits.clocks import Clock
from resync.lab.kube import EVENTS, Kube, KubeError, Object, Resource
from resync.lab.metadata import Metadata, stamp

log = logging.getLogger(__name__)

NORMAL: Final = "Normal"
WARNING: Final = "Warning"


class Teller:
    """Writes Events about objects."""

    def __init__(self, kube: Kube, clock: Clock) -> None:
        self._kube = kube
        self._clock = clock
        self._last_ns = 0

    async def tell(
        self, about: Metadata, resource: Resource, reason: str, message: str, kind: str = NORMAL
    ) -> None:
        """Send one Event about the object; when the API does not take it, the log has it."""
        # Names carry the time, so two events may not share one.
        self._last_ns = max(int(self._clock.wall_s() * 1e9), self._last_ns + 1)
        now = stamp(self._clock.wall_s())
        event: Object = {
            "metadata": {"name": f"{about.name}.{self._last_ns:x}", "namespace": about.namespace},
            "involvedObject": {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "name": about.name,
                "namespace": about.namespace,
                "uid": about.uid,
                "resourceVersion": about.resource_version,
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": f"{resource.kind.lower()}-controller"},
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
        try:
            await self._kube.create(EVENTS, about.namespace, event)
        except KubeError as error:
            log.warning("an event was lost: %s: %s", message, error)
