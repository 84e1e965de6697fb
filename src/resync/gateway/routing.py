"""Choosing an engine: the longest indexed prefix among the engines that can take a request now.

The choice itself is `resync.kvsync.router`; this adds what only the process knows: which engines are ready,
how many requests each has in flight, and the metrics under AIBrix's names. The router writes nothing into
the index: an entry that nobody's event stands behind would make a dead event stream look alive.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from resync.gateway.errors import NoEngineError
from resync.gateway.metrics import RouterFamilies
from resync.kits.clocks import Clock
from resync.kvsync import router
from resync.kvsync.index import PrefixIndex
from resync.kvsync.router import Decision, Selection

SYNCED = "true"
"""AIBrix's label `using_kv_sync`: this gateway has no other index."""
QUARTERS = ("0", "1-25", "26-50", "51-75", "76-100")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request asks for; `token_ids` is None when the prompt came as text: nothing to look up."""

    model: str
    token_ids: tuple[int, ...] | None


class Routing:
    """Decides, and counts what it decided."""

    def __init__(self, index: PrefixIndex, *, families: RouterFamilies, clock: Clock) -> None:
        self._index = index
        self._families = families
        self._clock = clock
        self._turns = count()

    def choose(self, prompt: Prompt, running: Mapping[str, int]) -> Decision:
        """The engine for `prompt` among `running` (pod key -> requests in flight). Raises NoEngineError."""
        began_s = self._clock.monotonic_s()
        if not running:
            self._families.errors.labels(prompt.model, "no_target_pod", SYNCED).inc()
            raise NoEngineError(f"no engine that serves {prompt.model!r} is ready; nothing was sent")
        tokens = prompt.token_ids or ()
        blocks = len(tokens) // self._index.block_size
        matches = self._index.match(tokens)
        decision = router.choose(matches, running, blocks, tie_break=next(self._turns))
        self._count(prompt.model, decision, blocks, matched_elsewhere=_any_in(matches, running))
        self._families.latency.labels(prompt.model, SYNCED).observe(self._clock.monotonic_s() - began_s)
        return decision

    def _count(self, model: str, decision: Decision, blocks: int, *, matched_elsewhere: bool) -> None:
        bucket = quarter(decision.matched_blocks, blocks)
        self._families.decisions.labels(model, bucket, SYNCED).inc()
        self._families.selections.labels(model, decision.selection.value, SYNCED).inc()
        if matched_elsewhere and decision.selection is Selection.LEAST_REQUEST_FALLBACK:
            self._families.imbalance.labels(model, SYNCED).inc()


def quarter(matched: int, of: int) -> str:
    """The bucket of a share, named as AIBrix names it: `0`, `1-25` ... `76-100`."""
    if not matched or not of:
        return QUARTERS[0]
    return QUARTERS[min(4, -(-matched * 4 // of))]


def _any_in(matches: Iterable[str], running: Mapping[str, int]) -> bool:
    return any(pod in running for pod in matches)
