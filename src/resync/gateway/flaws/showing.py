"""Metrics that stand still while the work goes on."""

from resync.gateway.flaws.onsets import Onset
from resync.gateway.metrics import SourceFamilies, SourceMetrics


class SilentMetrics(SourceMetrics):
    """Shows the batch that was applied last before the onset, and none after it."""

    def __init__(self, onset: Onset, families: SourceFamilies, pod_key: str) -> None:
        super().__init__(families, pod_key)
        self._onset = onset

    def applied(self, sequence: int, at_wall_s: float) -> None:
        """Nothing, from the onset on."""
        if not self._onset.has_come():
            super().applied(sequence, at_wall_s)
