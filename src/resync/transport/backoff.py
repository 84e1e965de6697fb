"""How long to wait before dialling again."""

import random


class Backoff:
    """Doubles from `min_s` to `max_s`; each pause is stretched by up to `jitter` of itself.

    So engines that vanish together are not dialled together for ever, and no pause exceeds
    `max_s * (1 + jitter)`.
    """

    def __init__(self, *, min_s: float, max_s: float, jitter: float, dice: random.Random) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._jitter = jitter
        self._dice = dice
        self._next_s = min_s

    def pause_s(self) -> float:
        """The next pause, in seconds."""
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, self._max_s)
        return pause_s * (1 + self._jitter * self._dice.random())

    def reset(self) -> None:
        """It worked: begin with `min_s` the next time."""
        self._next_s = self._min_s
