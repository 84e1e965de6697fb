"""What the failure of a pod must do: whoever asks it for metrics gets no answer.

Prometheus asks every pod at every scrape and stores whether it answered (`up`); nobody who executes the
fault has a hand in that. A pod that answers inside the fault was not down.
"""

from collections.abc import Sequence

from resync.run.answers import UP, scrapes
from resync.run.effects.signs import Effect, PodEffect, Sign, doubts_of
from resync.run.samples import Samples
from resync.run.settings import Settings


class Downtime:
    """The pod's process is gone; the pod stays."""

    metrics = (UP,)

    def named(self, settings: Settings, pods: Sequence[str]) -> str:
        """Who is down."""
        return f"the failure of {', '.join(pods)}"

    def refusal(self, settings: Settings) -> tuple[str, str] | None:
        """Any failure of a pod that is scraped can be told."""
        return None

    def calm(self, samples: Samples, pod_key: str, settings: Settings) -> bool:
        """Whether the pod answered every scrape."""
        return bool(scrapes(samples, pod_key)) and all(up for _, up in scrapes(samples, pod_key))

    def signs(
        self,
        baseline: Samples,
        seen: Samples,
        pod_key: str,
        settings: Settings,
    ) -> list[Sign]:
        """One for every scrape."""
        words = {True: f"{pod_key} answered a scrape", False: f"{pod_key} did not answer a scrape"}
        return [Sign(t, shows=not up, says=words[bool(up)]) for t, up in scrapes(seen, pod_key)]

    def back(
        self,
        baseline: Samples,
        seen: Samples,
        pod_key: str,
        settings: Settings,
    ) -> float | None:
        """The first scrape that was answered."""
        return next((t for t, up in scrapes(seen, pod_key) if up), None)

    def judged(self, baseline: Samples, fault: Samples, pods: Sequence[str], settings: Settings) -> Effect:
        """No scrape answered, in any piece of the window."""
        return Effect(tuple(self._pod(baseline, fault, pod, settings) for pod in pods))

    def _pod(self, baseline: Samples, fault: Samples, pod_key: str, settings: Settings) -> PodEffect:
        signs = self.signs(baseline, fault, pod_key, settings)
        doubts = doubts_of(signs, pod_key, fault.window, fault.interval_s)
        return PodEffect(pod_key, {"unanswered_scrapes": float(sum(s.shows for s in signs))}, doubts)
