"""A lost tail: the publisher says it is at a number that never comes.

A gap shows only when a later batch arrives, and vLLM's stream has no heartbeat (its PR #57789 would add
one), so the last batches before a silence can be lost unseen. Where the publisher's own number is visible
by another way, it is compared with ours; being behind for a moment is the normal state of a stream, so a
claim counts only once it has gone unmet for longer than a patience.
"""


class Tail:
    """The oldest claim not yet met. `due_s` is when it becomes a loss, None without a claim."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.claimed = 0
        self.due_s: float | None = None

    def claim(self, seq: int, applied: int, now_s: float) -> None:
        """The publisher says it is at `seq`.

        A higher claim does not push back an older one; a lower one replaces it, for numbers only fall when
        another life begins.
        """
        if self.due_s is None or self.claimed <= applied or seq < self.claimed:
            self.claimed = seq
            self.due_s = now_s + self._patience_s if seq > applied else None

    def is_overdue(self, applied: int, now_s: float) -> bool:
        """Whether the claim has gone unmet for too long."""
        if self.due_s is not None and self.claimed <= applied:
            self.due_s = None
        return self.due_s is not None and now_s >= self.due_s

    def forget(self) -> None:
        """The claim is answered for, or was made by a life that is over."""
        self.due_s = None
