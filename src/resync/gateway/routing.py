"""Choosing an engine: the longest indexed prefix among the engines that can take a request now.

The choice itself is `resync.kvsync.router`; this adds what only the process knows: which engines are ready,
how many requests each has in flight, and the metrics under AIBrix's names.
"""

from collections.abc import Mapping

from resync.gateway.errors import NoEngineError
from resync.gateway.metrics import RouterFamilies
from resync.kits.clocks import Clock
from resync.kvsync.errors import NoPodError
from resync.kvsync.router import Decision, Prompt, Router, RoutingFailure

QUARTERS = ("0", "1-25", "26-50", "51-75", "76-100")


class Routing:
    """Decides, and counts what it decided."""

    def __init__(self, router: Router, *, kv_sync: bool, families: RouterFamilies, clock: Clock) -> None:
        self._router = router
        self._using_kv_sync = str(kv_sync).lower()
        self._families = families
        self._clock = clock

    def choose(self, prompt: Prompt, running: Mapping[str, int]) -> Decision:
        """The engine for `prompt` among `running` (pod key -> requests in flight). Raises NoEngineError."""
        began_s = self._clock.monotonic_s()
        try:
            decision = self._router.route(prompt, running, began_s)
        except NoPodError as reason:
            self._failed(prompt.model, RoutingFailure.NO_TARGET_POD)
            raise NoEngineError(
                f"no engine that serves {prompt.model!r} is ready; nothing was sent"
            ) from reason
        self._count(prompt.model, decision)
        took_s = self._clock.monotonic_s() - began_s
        self._families.latency.labels(prompt.model, self._using_kv_sync).observe(took_s)
        return decision

    def _count(self, model: str, decision: Decision) -> None:
        synced = self._using_kv_sync
        bucket = quarter(decision.matched_blocks, decision.prompt_blocks)
        self._families.decisions.labels(model, bucket, synced).inc()
        self._families.selections.labels(model, decision.selection.value, synced).inc()
        if decision.imbalanced:
            self._families.imbalance.labels(model, synced).inc()
        if decision.failure is not None:
            self._failed(model, decision.failure)

    def _failed(self, model: str, failure: RoutingFailure) -> None:
        self._families.errors.labels(model, failure.value, self._using_kv_sync).inc()


def quarter(matched: int, of: int) -> str:
    """The bucket of a share, named as AIBrix names it: `0`, `1-25` ... `76-100`."""
    if not matched or not of:
        return QUARTERS[0]
    return QUARTERS[min(4, -(-matched * 4 // of))]
