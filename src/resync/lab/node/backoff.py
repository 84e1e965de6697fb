"""How long a container that ended waits before it is started again. Pure.

Kubelet's rule with the lab's figures: the first restart at once, then a pause that doubles up to a limit,
forgotten once a container has run long enough (Kubernetes documentation, "Container restart policy"; there
10 s, 300 s and 10 min).
"""

from typing import Final

PAUSE_FIRST_S: Final = 0.5
PAUSE_MAX_S: Final = 30.0
FORGIVEN_AFTER_S: Final = 60.0


class RestartPause:
    """The pause before the next start of one container."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def after(self, ran_s: float) -> float:
        """Seconds to wait, the container having run for `ran_s`."""
        if ran_s >= FORGIVEN_AFTER_S:
            self._next_s = 0.0
        pause_s = self._next_s
        self._next_s = min(max(pause_s * 2, PAUSE_FIRST_S), PAUSE_MAX_S)
        return pause_s
