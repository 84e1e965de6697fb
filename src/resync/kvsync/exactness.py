"""Whether a source is EXACT or DEGRADED, why, and when it is worth trying again.

The words are those of vLLM-router's RFC #294. A degraded source becomes exact by a batch that says
everything (number 0, or a clear), or by a replay from the beginning; that one is asked for later, and ever
later, unless the ring has lost the beginning: then only another life of the publisher can help.
"""


class Exactness:
    """EXACT until something is lost; `retry_at_s` is when to try again, None for not."""

    def __init__(self, *, retry_min_s: float, retry_max_s: float) -> None:
        self._retry_min_s = retry_min_s
        self._retry_max_s = retry_max_s
        self._delay_s = retry_min_s
        self.exact = True
        self.reason: str | None = None
        self.retry_helps = True
        self.retry_at_s: float | None = None

    def regain(self) -> None:
        """What follows says everything that is held."""
        self.exact = True
        self.reason = None
        self.retry_helps = True
        self.retry_at_s = None

    def lose(self, reason: str) -> None:
        """Something is lost, or could not be read."""
        self.exact = False
        self.reason = reason

    def settle(self, now_s: float) -> None:
        """A replay is over: nothing more will mend it by itself."""
        if self.exact:
            self._delay_s = self._retry_min_s
        else:
            self.schedule_retry(now_s)

    def schedule_retry(self, now_s: float) -> None:
        """Later, and ever later; not at all where it cannot help."""
        if self.retry_helps:
            self.retry_at_s = now_s + self._delay_s
            self._delay_s = min(self._delay_s * 2, self._retry_max_s)
