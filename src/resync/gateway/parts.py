"""What a gateway is built from: the classes that a process may be started with others of."""

from collections.abc import Callable
from dataclasses import dataclass

from resync.gateway.metrics import SourceFamilies, SourceMetrics
from resync.gateway.settings import Patience
from resync.kvsync.index import PrefixIndex
from resync.kvsync.source import Source
from resync.transport.subscription import Handler, Subscription, TransportSettings

Subscribe = Callable[[Source, Handler, TransportSettings], Subscription]


class Admission:
    """Whether a received batch may be applied; the healthy one always says yes."""

    def may_apply(self) -> bool:
        """True when the next batch is to be applied."""
        return True

    def round_trip(self, _pod_key: str, _round_trip_s: float) -> None:
        """Take note of a measured round trip."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts; `patience` of None means what the settings say."""

    index: Callable[..., PrefixIndex] = PrefixIndex
    source_metrics: Callable[[SourceFamilies, str], SourceMetrics] = SourceMetrics
    patience: Patience | None = None
    admission: Callable[[], Admission] = Admission
    subscription: Subscribe = Subscription
