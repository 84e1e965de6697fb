"""The positive control: the divergence gauge must be seen to move before its 0 is believed.

A gauge that always says 0 looks the same whether nothing is wrong or nothing is measured. At the start of
each gateway's audit the observer therefore plants one block into its own truth input, for a pod that does
not exist, so that it takes the very way of a real divergence: same compare, same gauge family. Whoever
reads the metrics must see 0 -> 1 -> 0. Each phase is held until the page was served twice while the gauge
said so; if nobody reads it in time the control counts as not seen, and goes on: it must not stay planted.

Whoever reads the metrics forgets, too: Prometheus keeps a day, an observer may live for weeks. So the control
is repeated every hour, begun only at a cut at which nothing is wrong, and a minute after it went unseen. It
disturbs no experiment: the planted block is that of a pod of its own name, and no claim counts it.
"""

from enum import IntEnum

from resync.kits.clocks import Clock

POD_KEY = "resync-control"
PLANTED_ROW = (0, 0xC0FFEE, 1, 0xC0FFEE)

REPEAT_S = 3600.0
RETRY_S = 60.0


class Phase(IntEnum):
    """Where the control stands."""

    BEFORE = 0
    PLANTED = 1
    AFTER = 2
    DONE = 3


class Control:
    """One gateway's control. Call `exported` after each cut, `scraped` after each page served."""

    def __init__(
        self,
        *,
        clock: Clock,
        phase_timeout_s: float,
        scrapes_min: int = 2,
        repeat_s: float = REPEAT_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._clock = clock
        self._phase_timeout_s = phase_timeout_s
        self._scrapes_min = scrapes_min
        self._repeat_s = repeat_s
        self._retry_s = retry_s
        self._done_at_s = 0.0
        self._scrapes = 0
        self._exported_at_s: float | None = None
        self.phase = Phase.BEFORE
        self.seen = True
        """False once a phase of this round ended without having been read often enough."""
        self.completed_s: float | None = None
        """When (wall time) a round was last read to its end; None before the first."""

    @property
    def rows(self) -> list[tuple[int, int, int, int]]:
        """What the truth of the pseudo pod is now: one planted block, or nothing."""
        return [PLANTED_ROW] if self.phase is Phase.PLANTED else []

    def exported(self, *, calm: bool = True) -> bool:
        """Note that the gauge shows this phase; move on when it may. False when the phase ended unseen.

        `calm`: nothing was wrong at this cut, so that a new round may begin when it is due.
        """
        if self.phase is Phase.DONE:
            self._begin_again(calm=calm)
            return True
        now_s = self._clock.monotonic_s()
        if self._exported_at_s is None:
            self._exported_at_s = now_s
        enough = self._scrapes >= self._scrapes_min
        late = now_s - self._exported_at_s >= self._phase_timeout_s
        if enough or late:
            self._advance(enough=enough)
        return enough or not late

    def scraped(self) -> None:
        """Note that the page was served; counts only once the gauge shows the current phase."""
        if self._exported_at_s is not None:
            self._scrapes += 1

    def _advance(self, *, enough: bool) -> None:
        self.seen = self.seen and enough
        self._enter(Phase(self.phase + 1))
        if self.phase is Phase.DONE:
            self._done_at_s = self._clock.monotonic_s()
            if self.seen:
                self.completed_s = self._clock.wall_s()

    def _begin_again(self, *, calm: bool) -> None:
        due_s = self._done_at_s + (self._repeat_s if self.seen else self._retry_s)
        if calm and self._clock.monotonic_s() >= due_s:
            self.seen = True
            self._enter(Phase.BEFORE)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._scrapes = 0
        self._exported_at_s = None
