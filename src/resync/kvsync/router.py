"""Where a request goes.

The longest prefix wins, unless its pod is too busy or the prefix too short to matter.

After AIBrix' prefix-cache router (`prefix_cache.go`): pods far above the least loaded do not compete, nor,
where asked for, those far above the mean; a match below a minimum share of the prompt is no match, and
without a match the least loaded pod takes it. Which index answers, one fed by events or one fed by these very
decisions, the router does not know. What keeps a request from being routed by prefix is part of the decision,
so that it can be counted: a prompt that could not be turned into tokens is still routed (AIBrix refuses it),
and never silently.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import count
from math import inf
from statistics import fmean, pstdev
from typing import Protocol

import msgspec

from resync.kvsync.errors import NoPodError


class Selection(StrEnum):
    """Why a pod was chosen; the values are AIBrix' label values."""

    PREFIX_MATCH = "prefix_match"
    PREFIX_MATCH_SKIPPED = "prefix_match_skipped"
    """A prefix matched, and every pod that holds it was too busy."""
    LEAST_REQUEST_FALLBACK = "least_request_fallback"


class RoutingFailure(StrEnum):
    """What went wrong with a request; the values are AIBrix' label values for `reason`."""

    NO_TARGET_POD = "no_target_pod"
    TOKENIZE_FAILED = "tokenize_failed"


class RouterSettings(msgspec.Struct, frozen=True):
    """Limits of the choice.

    Requests above the least loaded pod, and the share of the prompt that makes a match. `deviation_factor`:
    how many standard deviations above the mean of all pods; None: any. AIBrix has 1, and so with few requests
    in flight passes over every holder: of 1, 0 and 0 the first is above mean and deviation.
    """

    imbalance_limit: int = 8
    match_share_min: float = 0.3
    deviation_factor: int | None = None


class Prompt(msgspec.Struct, frozen=True):
    """What a request asks for; `token_ids` is None when its text could not be turned into tokens."""

    model: str
    token_ids: tuple[int, ...] | None
    lora_name: str | None = None


class Decision(msgspec.Struct, frozen=True):
    """The pod, why, and how many leading blocks of the prompt it is believed to hold.

    `imbalanced`: the busiest pod was so far above the least loaded that it could not compete. `failure`: why
    no prefix was looked for at all.
    """

    pod_key: str
    selection: Selection
    matched_blocks: int
    prompt_blocks: int = 0
    imbalanced: bool = False
    failure: RoutingFailure | None = None

    @property
    def match_percent(self) -> int:
        """The matched share of the whole prompt, 0 to 100, rounded down as AIBrix does."""
        return self.matched_blocks * 100 // self.prompt_blocks if self.prompt_blocks else 0


class Indexer(Protocol):
    """What the router asks of an index, and tells it."""

    block_size: int

    def match(
        self, token_ids: Sequence[int], lora_name: str | None = None, *, model: str = ""
    ) -> Mapping[str, int]:
        """Pod -> blocks of the longest contiguous prefix that it holds."""

    def routed(
        self,
        pod_key: str,
        token_ids: Sequence[int],
        lora_name: str | None = None,
        *,
        model: str,
        now_s: float,
    ) -> None:
        """A prompt goes to that pod now."""

    def purge(self, pod_key: str) -> None:
        """The pod is gone."""

    def evict_idle(self, now_s: float, idle_s: float) -> int:
        """Forget what was not used for that long; how many blocks that were."""


DEFAULTS = RouterSettings()


class Router:
    """Decides for one prompt after the other; equals take turns."""

    def __init__(self, indexer: Indexer, settings: RouterSettings = DEFAULTS) -> None:
        self._indexer = indexer
        self._settings = settings
        self._turns = count()

    def route(self, prompt: Prompt, running: Mapping[str, int], now_s: float) -> Decision:
        """The pod for `prompt` among `running` (pod -> its requests in flight).

        Raises NoPodError when there is none to choose from.
        """
        turn = next(self._turns)
        tokens = prompt.token_ids
        if tokens is None:
            decision = choose({}, running, 0, self._settings, turn)
            return msgspec.structs.replace(decision, failure=RoutingFailure.TOKENIZE_FAILED)
        matches = self._indexer.match(tokens, prompt.lora_name, model=prompt.model)
        blocks = len(tokens) // self._indexer.block_size
        decision = choose(matches, running, blocks, self._settings, turn)
        self._indexer.routed(decision.pod_key, tokens, prompt.lora_name, model=prompt.model, now_s=now_s)
        return decision


def choose(
    matches: Mapping[str, int],
    running: Mapping[str, int],
    prompt_blocks: int,
    settings: RouterSettings = DEFAULTS,
    tie_break: int = 0,
) -> Decision:
    """The pod for a prompt of `prompt_blocks` full blocks.

    `running` has every pod that may be chosen, with its requests in flight; `matches` the matched blocks of
    those that match. `tie_break` is any integer (a counter, say): equals are sorted by name and that one of
    them is taken, so the choice can be repeated and still spreads. Raises NoPodError when `running` is empty.
    """
    if not running:
        raise NoPodError("no pod is ready to take the request")
    apart = min(running.values()) + settings.imbalance_limit
    limit = min(apart, _deviation_limit(running.values(), settings.deviation_factor))
    floor = max(1.0, settings.match_share_min * prompt_blocks)
    matching = {pod: blocks for pod, blocks in matches.items() if pod in running and blocks >= floor}
    best = max((blocks for pod, blocks in matching.items() if running[pod] <= limit), default=None)
    if best is not None:
        selection = Selection.PREFIX_MATCH
        among = [pod for pod, blocks in matching.items() if blocks == best and running[pod] <= limit]
    else:
        selection = Selection.PREFIX_MATCH_SKIPPED if matching else Selection.LEAST_REQUEST_FALLBACK
        among = [*running]
    pod = _least_loaded(among, running, tie_break)
    imbalanced = max(running.values()) > apart
    return Decision(pod, selection, matches.get(pod, 0), prompt_blocks, imbalanced)


def _deviation_limit(running: Collection[int], factor: int | None) -> float:
    return inf if factor is None else fmean(running) + factor * pstdev(running)


def _least_loaded(pods: Iterable[str], running: Mapping[str, int], tie_break: int) -> str:
    among = sorted(pods)
    least = min(running[pod] for pod in among)
    equals = [pod for pod in among if running[pod] == least]
    return equals[tie_break % len(equals)]
