"""Which process answered a scrape: the one from before, a new one, or none.

Prometheus stores for every scrape whether it was answered (`up`), and a process says since when it runs
(`process_start_time_seconds`, as the Prometheus client libraries call it); nobody who executes a fault has a
hand in either. The start is computed from the boot time of the machine, which is known to a second only and
may move by one, so two starts are two processes when they lie further apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from resync.run.observations import Series
from resync.run.samples import Samples

UP = "up"
BORN = "process_start_time_seconds"
BORN_APART_S = 1.5


@dataclass(frozen=True, slots=True)
class Answer:
    """One scrape of a pod: when, and since when the process runs that answered; None: none did."""

    at_s: float
    born_s: float | None


@dataclass(frozen=True, slots=True)
class Restart:
    """When a process was last heard, and between which scrapes its successor first answered.

    `back_s` None: none did. Times on the clock of the runner.
    """

    last_s: float
    silent_s: float
    back_s: float | None


def scrapes(samples: Samples, pod_key: str) -> list[tuple[float, float]]:
    """Every scrape of the pod in the window, in order: when, and 1 if it was answered."""
    return sorted(p for s in samples.all(UP) if _about(s, pod_key) for p in samples.inside(s))


def answers(samples: Samples, pod_key: str) -> list[Answer]:
    """Every scrape that is stored, also from before the window; one whose answer has no start is left out."""
    born = {t: v for s in samples.all(BORN) if _about(s, pod_key) for t, v in s.points}
    asked = sorted(p for s in samples.all(UP) if _about(s, pod_key) for p in s.points)
    return [Answer(t, born[t] if up else None) for t, up in asked if not up or t in born]


def is_later(born_s: float, than_s: float) -> bool:
    """Whether two starts are those of two processes, the first one the younger."""
    return born_s > than_s + BORN_APART_S


def restart(samples: Samples, pod_key: str) -> Restart | None:
    """The first change of processes; None while the first one goes on answering."""
    heard = answers(samples, pod_key)
    old_s = next((one.born_s for one in heard if one.born_s is not None), None)
    if old_s is None:
        return None
    of_old = [one for one in heard if one.born_s is not None and not is_later(one.born_s, old_s)]
    last_s = of_old[-1].at_s
    later = [one for one in heard if one.at_s > last_s]
    new = [one.at_s for one in later if one.born_s is not None]
    silent = [one.at_s for one in heard if one.at_s < new[0]] if new else [one.at_s for one in heard]
    return Restart(last_s, silent[-1], new[0] if new else None) if later else None


def settled_s(samples: Samples, pods: Sequence[str]) -> float | None:
    """When each of these pods answered as a new process for the second time; None when one did not."""
    times: list[float] = []
    for pod in pods:
        found = restart(samples, pod)
        again = [] if found is None or found.back_s is None else _after(samples, pod, found.back_s)
        if not again:
            return None
        times.append(again[0])
    return max(times, default=None)


def _after(samples: Samples, pod_key: str, since_s: float) -> list[float]:
    return [one.at_s for one in answers(samples, pod_key) if one.at_s > since_s and one.born_s is not None]


def _about(series: Series, pod_key: str) -> bool:
    """Such series carry what the scrape configuration attaches: the pod, on a cluster its namespace too."""
    namespace, _, name = pod_key.partition("/")
    labels = series.labels
    return labels.get("pod") == name and labels.get("namespace", namespace) == namespace
