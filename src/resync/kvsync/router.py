"""Where a request goes.

The longest prefix wins, unless its pod is too busy or the prefix too short to matter.

Pure: matches and running counts in, a decision out. After AIBrix' prefix-cache router (`prefix_cache.go`):
pods far above the least loaded do not compete, a match below a minimum share of the prompt is no match, and
without a match the least loaded pod takes it. `tie_break` is any integer (a counter, say): equals are
sorted by name and that one of them is taken, so the choice can be repeated and still spreads.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from resync.kvsync.errors import NoPodError


class Selection(StrEnum):
    """Why a pod was chosen; the values are AIBrix' label values."""

    PREFIX_MATCH = "prefix_match"
    LEAST_REQUEST_FALLBACK = "least_request_fallback"


class RouterSettings(msgspec.Struct, frozen=True):
    """Limits of the choice.

    Requests above the least loaded pod, and the share of the prompt that makes a match.
    """

    imbalance_limit: int = 8
    match_share_min: float = 0.3


class Decision(msgspec.Struct, frozen=True):
    """The pod, why, and how many leading blocks of the prompt it is believed to hold."""

    pod_key: str
    selection: Selection
    matched_blocks: int


DEFAULTS = RouterSettings()


def choose(
    matches: Mapping[str, int],
    running: Mapping[str, int],
    prompt_blocks: int,
    settings: RouterSettings = DEFAULTS,
    tie_break: int = 0,
) -> Decision:
    """The pod for a prompt of `prompt_blocks` full blocks.

    `running` has every pod that may be chosen, with its requests in flight; `matches` the matched blocks of
    those that match. Raises NoPodError when `running` is empty.
    """
    if not running:
        raise NoPodError("no pod is ready to take the request")
    limit = min(running.values()) + settings.imbalance_limit
    floor = max(1.0, settings.match_share_min * prompt_blocks)
    candidates = {
        pod: blocks
        for pod, blocks in matches.items()
        if blocks >= floor and pod in running and running[pod] <= limit
    }
    if candidates:
        best = max(candidates.values())
        pod = _least_loaded((pod for pod, blocks in candidates.items() if blocks == best), running, tie_break)
        return Decision(pod, Selection.PREFIX_MATCH, best)
    pod = _least_loaded(running, running, tie_break)
    return Decision(pod, Selection.LEAST_REQUEST_FALLBACK, matches.get(pod, 0))


def _least_loaded(pods: Iterable[str], running: Mapping[str, int], tie_break: int) -> str:
    among = sorted(pods)
    least = min(running[pod] for pod in among)
    equals = [pod for pod in among if running[pod] == least]
    return equals[tie_break % len(equals)]
