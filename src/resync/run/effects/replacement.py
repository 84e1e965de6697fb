"""What a kill must do: the process from before never answers again.

A kill happens once and is over, and whoever kept the pod starts another process, so nothing stands for a
while and is taken away. What can be seen all along is the absence of the one that was killed: every scrape
goes unanswered or is answered by a younger process. One answer of the old one, and nothing was killed.
"""

from collections.abc import Sequence

from resync.run.answers import BORN, UP, answers, is_later, scrapes
from resync.run.effects.signs import Effect, PodEffect, Sign, doubts_of
from resync.run.errors import UnmeasuredError
from resync.run.performance import failed
from resync.run.samples import Samples
from resync.run.settings import Settings


class Replacement:
    """The pod's process is another one."""

    metrics = (UP, BORN)

    def named(self, settings: Settings, pods: Sequence[str]) -> str:
        """Who was killed."""
        return f"the death of {', '.join(pods)}"

    def refusal(self, settings: Settings) -> tuple[str, str] | None:
        """Any kill of a pod that is scraped can be told."""
        return None

    def calm(self, samples: Samples, pod_key: str, settings: Settings) -> bool:
        """Whether one process answered every scrape."""
        heard = [one.born_s for one in answers(samples, pod_key)]
        born = [one for one in heard if one is not None]
        return bool(born) and len(born) == len(heard) and not is_later(max(born), min(born))

    def signs(self, baseline: Samples, seen: Samples, pod_key: str, settings: Settings) -> list[Sign]:
        """One for every scrape."""
        before = [one.born_s for one in answers(baseline, pod_key) if one.born_s is not None]
        if not before:
            raise UnmeasuredError(
                f"{pod_key} does not say since when it runs ({BORN}), so a new process could not be told",
                next_step="export it: every Prometheus client library does",
            )
        silent = {t for t, up in scrapes(seen, pod_key) if not up}
        dead = [Sign(t, shows=True, says=f"{pod_key} did not answer a scrape") for t in silent]
        return sorted([*dead, *self._answered(seen, pod_key, max(before))], key=lambda sign: sign.at_s)

    def _answered(self, seen: Samples, pod_key: str, old_s: float) -> list[Sign]:
        says = {
            True: f"{pod_key} answered a scrape as a new process",
            False: f"{pod_key} answered a scrape, and is the process from before",
        }
        heard = [(one.at_s, one.born_s) for one in answers(seen, pod_key) if one.born_s is not None]
        inside = [(t, is_later(born_s, old_s)) for t, born_s in heard if t >= seen.window[0]]
        return [Sign(t, shows=new, says=says[new]) for t, new in inside if t <= seen.window[1]]

    def back(self, baseline: Samples, seen: Samples, pod_key: str, settings: Settings) -> float | None:
        """The first scrape that was answered: by a new process, as everything before the end shows."""
        return next((t for t, up in scrapes(seen, pod_key) if up), None)

    def judged(self, baseline: Samples, fault: Samples, pods: Sequence[str], settings: Settings) -> Effect:
        """No answer of the process from before, in any piece of the window."""
        return Effect(tuple(self._pod(baseline, fault, pod, settings) for pod in pods))

    def _pod(self, baseline: Samples, fault: Samples, pod_key: str, settings: Settings) -> PodEffect:
        signs = self.signs(baseline, fault, pod_key, settings)
        doubts = doubts_of(signs, pod_key, fault.window, fault.interval_s)
        unanswered = sum(not up for _, up in scrapes(fault, pod_key))
        measured = {"unanswered_scrapes": float(unanswered), "failed_requests": failed(fault)}
        return PodEffect(pod_key, measured, doubts)
