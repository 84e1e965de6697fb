"""What a run sees, as its records keep it: series, pods, probes of a hypothesis, prompts of an audit."""

from typing import Literal

import msgspec

Phase = Literal["baseline", "before", "fault", "recovery", "after"]
"""Which part of a run something was seen in."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Raw samples of one time series, times in seconds on the clock of whoever scraped."""

    metric: str
    labels: dict[str, str]
    points: list[tuple[float, float]]


class PodSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One pod as the API server reported it."""

    pod_key: str
    phase: str
    ready: bool
    restarts: int
    uid: str


class ProbeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One probe of a hypothesis: whether it answered, and whether the answer was within its tolerance."""

    name: str
    answered: bool
    within: bool
    detail: str = ""


class PromptAsked(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt of an audit: `pod_key` computed it, then the gateway was asked.

    `tokens`: of its full blocks; `target`: the pod_key that the gateway says it chose, `selection` why, both
    empty where it does not say; `cached`: tokens reused there. Where that was another pod, the first one was
    asked again: `verified` whether it answered, `held` what it reused. None: not told.
    """

    pod_key: str
    tokens: int
    status: int
    target: str
    selection: str
    cached: int | None
    verified: bool
    held: int | None
