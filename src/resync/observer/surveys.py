"""What the engines hold now, asked once a second whether or not a gateway can be audited.

Sizes, totals and shared hashes are floors of other people's claims: they must be there even when every
gateway is gone, and they must not depend on how far a gateway lags.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from resync.kits.clocks import Clock
from resync.observer.asking import Asker
from resync.observer.errors import CutError
from resync.observer.fleets import Peer
from resync.observer.metrics import Metrics
from resync.observer.records import Truth

HOLDERS_MIN = 2


class Survey:
    """The endless survey of all engines."""

    def __init__(
        self,
        *,
        asker: Asker,
        engines: Callable[[], Mapping[str, Peer]],
        metrics: Metrics,
        clock: Clock,
        every_s: float,
    ) -> None:
        self._asker = asker
        self._engines = engines
        self._metrics = metrics
        self._clock = clock
        self._every_s = every_s

    async def run(self) -> None:
        """Ask every engine, again and again, until cancelled."""
        while True:
            began_s = self._clock.monotonic_s()
            answers = await asyncio.gather(*map(self._ask, self._engines().values()))
            self._metrics.shared.set(shared_hashes(truth for truth in answers if truth is not None))
            await asyncio.sleep(max(0.0, began_s + self._every_s - self._clock.monotonic_s()))

    async def _ask(self, engine: Peer) -> Truth | None:
        if engine.base_url is None or not engine.one_rank:
            return None
        try:
            truth = await self._asker.truth(engine.base_url, None)
        except CutError as failure:
            self._metrics.failures.labels(failure.reason.value).inc()
            return None
        if engine.pod_key in self._engines():
            self._metrics.show_engine(engine.pod_key, truth)
            self._metrics.truth_blocks.set(len(truth.blocks), engine.pod_key)
        return truth


def shared_hashes(truths: Iterable[Truth]) -> int:
    """How many hashes two or more of these engines hold; one that did not answer can only make it smaller."""
    holders = Counter(block for truth in truths for block in {row[1] for row in truth.blocks})
    return sum(count >= HOLDERS_MIN for count in holders.values())
