"""What a partition must do to the data path: nothing comes through, while both ends live on.

The gateway checks every engine several times a second and says when it last had an answer. Under a partition
that time stands still, and a single answer to a question asked inside the fault proves it void. That silence
alone would also be what a dead engine sounds like; so an untouched witness (the observer, which goes by
another path) has to go on hearing from the same engine.
"""

from collections.abc import Sequence

from resync.run.effects.signs import Effect, PodEffect, Sign, doubts_of
from resync.run.readings import RTT, fresh, measured
from resync.run.samples import Samples
from resync.run.settings import Settings, scaled_floor

SILENT_S_MIN = 1.0
"""Several checks without an answer: one may be late on a busy machine."""

SILENT_SCRAPES = 4.0
WITNESS = "resync_published_sequence"


class Partition:
    """Both ends silent towards each other."""

    metrics = RTT

    def named(self, settings: Settings, pods: Sequence[str]) -> str:
        """Who is cut off."""
        return f"a partition between {' and '.join(pods)}"

    def refusal(self, settings: Settings) -> tuple[str, str] | None:
        """Shorter than it takes to call a path silent, a partition cannot be proven."""
        least_s = 2 * SILENT_S_MIN + settings.guard_s
        if settings.fault_duration_s > least_s:
            return None
        return (
            f"a partition of {settings.fault_duration_s:g} s is over before a path can be called silent",
            f"choose a RESYNC_FAULT_DURATION above {least_s:g} s",
        )

    def calm(self, samples: Samples, pod_key: str, settings: Settings) -> bool:
        """Whether answers keep coming."""
        return bool(fresh(measured(samples, RTT, pod_key), samples.window))

    def signs(
        self,
        baseline: Samples,
        seen: Samples,
        pod_key: str,
        settings: Settings,
    ) -> list[Sign]:
        """An answer is a sign to the contrary; each scrape after a second without one is a sign."""
        silent_s = max(SILENT_S_MIN, SILENT_SCRAPES * seen.interval_s)
        answers = [
            Sign(r.done_s, shows=False, says=f"a round trip to {pod_key} came through in {r.took_ms:.1f} ms")
            for r in fresh(measured(seen, RTT, pod_key), seen.window)
        ]
        quiet = [
            Sign(t, shows=True, says=f"no answer of {pod_key} for {t - last:.1f} s")
            for series in seen.all(RTT[1], pod_key=pod_key)
            for t, last in seen.inside(series)
            if t - last >= silent_s
        ]
        return sorted([*answers, *quiet], key=lambda sign: sign.at_s)

    def back(
        self,
        baseline: Samples,
        seen: Samples,
        pod_key: str,
        settings: Settings,
    ) -> float | None:
        """The first answer to a question asked in the window."""
        return next((r.done_s for r in fresh(measured(seen, RTT, pod_key), seen.window)), None)

    def judged(self, baseline: Samples, fault: Samples, pods: Sequence[str], settings: Settings) -> Effect:
        """Silence on every pod, and a witness that each of them lives."""
        return Effect(tuple(self._pod(baseline, fault, pod, settings) for pod in pods))

    def _pod(self, baseline: Samples, fault: Samples, pod_key: str, settings: Settings) -> PodEffect:
        signs = self.signs(baseline, fault, pod_key, settings)
        published = [v for s in fault.all(WITNESS, pod_key=pod_key) for _, v in fault.inside(s)]
        moved = max(published, default=0.0) - min(published, default=0.0)
        needed = scaled_floor(settings.missed_floor, fault.window_s)
        doubts = doubts_of(signs, pod_key, fault.window, fault.interval_s)
        if moved < needed:
            heard = f"{pod_key}: others saw it publish {moved:g} batches meanwhile, {needed} needed"
            doubts += (f"{heard}: it may have been dead, not cut off, or had nothing to say",)
        return PodEffect(pod_key, {"silent_looks": float(len(signs)), "batches_meanwhile": moved}, doubts)
