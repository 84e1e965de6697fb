"""Metrics that stand still while the work goes on."""

from resync.gateway.metrics import SourceFamilies, SourceMetrics


class SilentMetrics(SourceMetrics):
    """Shows the first applied batch and none after it."""

    def __init__(self, families: SourceFamilies, pod_key: str) -> None:
        super().__init__(families, pod_key)
        self._shown = False

    def applied(self, sequence: int, at_wall_s: float) -> None:
        """Record the first one only."""
        if not self._shown:
            super().applied(sequence, at_wall_s)
        self._shown = True
