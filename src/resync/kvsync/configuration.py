"""What the environment says about KV-event sync: one record, parsed once, from a mapping.

The rule is one and holds for router and subscriptions alike: the synced index needs KV-event sync *and* the
remote tokenizer, for a prompt can be looked up among an engine's blocks only in that engine's own tokens.
Asked for without it, sync stays off and a warning says so. (AIBrix has three rules that disagree:
`pkg/plugins/gateway/algorithms/prefix_cache.go` switches to the synced index, `cmd/plugins/main.go` and
`pkg/kvevent/manager.go` subscribe to nobody, and the router then matches in an index that nobody feeds.)

Two names are known for each of the two switches: those of AIBrix before its pull request 1401, and its
current ones, which win where both are set. The others are AIBrix' own.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from resync.kvsync.errors import ConfigurationError
from resync.kvsync.holdings import IndexLimits
from resync.kvsync.localindex import BLOCKS_MAX
from resync.kvsync.router import RouterSettings

T = TypeVar("T")

BYTES_PER_TOKEN: Final = 4

REMOTE_TOKENIZER: Final = ("AIBRIX_PREFIX_CACHE_USE_REMOTE_TOKENIZER", "AIBRIX_USE_REMOTE_TOKENIZER")
KV_SYNC: Final = ("AIBRIX_PREFIX_CACHE_KV_EVENT_SYNC_ENABLED", "AIBRIX_KV_EVENT_SYNC_ENABLED")
TOKENIZER_TYPE: Final = "AIBRIX_PREFIX_CACHE_TOKENIZER_TYPE"
TOKENIZER_ENDPOINT: Final = "AIBRIX_PREFIX_CACHE_REMOTE_TOKENIZER_ENDPOINT"


class IndexerKind(StrEnum):
    """Which index the router asks; the values are AIBrix' label values for `indexer_type`."""

    SYNC = "sync"
    LOCAL = "local"


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, and in `kv_sync` and `indexer` what follows from it. Times in seconds.

    `synced_idle_s` is None unless set: the engines' own removals keep the synced index from growing, and an
    evicted context comes back only as its engines store it anew. AIBrix evicts after 20 minutes.
    """

    remote_tokenizer: bool = False
    kv_sync_requested: bool = False
    warnings: tuple[str, ...] = ()
    block_size: int | None = None
    """Tokens per block, None when nothing was said."""
    limits: IndexLimits = IndexLimits()
    synced_idle_s: float | None = None
    eviction_interval_s: float = 60.0
    local_blocks_max: int = BLOCKS_MAX
    local_idle_s: float = 1200.0
    router: RouterSettings = RouterSettings()

    @property
    def kv_sync(self) -> bool:
        """Whether engines are subscribed to and the synced index is asked."""
        return self.kv_sync_requested and self.remote_tokenizer

    @property
    def indexer(self) -> IndexerKind:
        """The index that is asked."""
        return IndexerKind.SYNC if self.kv_sync else IndexerKind.LOCAL

    @property
    def idle_s(self) -> float | None:
        """How long that index keeps what nothing uses; None: as long as it holds."""
        return self.synced_idle_s if self.kv_sync else self.local_idle_s


def parse(environment: Mapping[str, str], *, absent: bool = False) -> Configuration:
    """The configuration that `environment` asks for.

    A switch that is not in it is `absent`: AIBrix reads that as false. Raises ConfigurationError naming the
    variable that cannot be read.
    """
    asked = _switch(environment, REMOTE_TOKENIZER, absent=absent)
    kv_sync = _switch(environment, KV_SYNC, absent=absent)
    contradiction = _contradiction(environment) if asked else None
    remote_tokenizer = asked and contradiction is None
    warnings = [contradiction] if contradiction else []
    if kv_sync and not remote_tokenizer:
        warnings.append("KV-event sync needs the remote tokenizer and stays off: the local index is used")
    return Configuration(
        remote_tokenizer=remote_tokenizer,
        kv_sync_requested=kv_sync,
        warnings=tuple(warnings),
        limits=IndexLimits(**_given(environment, _LIMITS)),
        router=RouterSettings(**_given(environment, _ROUTER)),
        **_given(environment, _OTHERS),
    )


def _contradiction(environment: Mapping[str, str]) -> str | None:
    kind = environment.get(TOKENIZER_TYPE, "remote")
    if kind != "remote":
        return f"{TOKENIZER_TYPE}={kind!r} contradicts the remote tokenizer, which stays off"
    if not environment.get(TOKENIZER_ENDPOINT, "given"):
        return f"{TOKENIZER_ENDPOINT} is empty: the remote tokenizer stays off"
    return None


def _switch(environment: Mapping[str, str], names: tuple[str, ...], *, absent: bool) -> bool:
    for name in names:
        if name in environment:
            return _read(environment, name, _boolean)
    return absent


def _boolean(text: str) -> bool:
    """As Go's `strconv.ParseBool`, which AIBrix uses."""
    return {
        **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
        **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
    }[text]


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _minutes(text: str) -> float:
    return _count(text) * 60.0


def _tokens(text: str) -> int:
    """AIBrix counts the bytes of a block, four for each token."""
    tokens, rest = divmod(_count(text), BYTES_PER_TOKEN)
    if rest:
        raise ValueError(text)
    return tokens


_WANTED: Final[Mapping[Callable[[str], Any], str]] = {
    _boolean: "true or false",
    _count: "a number above 0",
    _minutes: "a number of minutes above 0",
    _tokens: "the bytes of one block: 4 x the engine's block size in tokens",
}
_LIMITS: Final = {
    "contexts_max": ("AIBRIX_SYNC_MAX_CONTEXTS", _count),
    "blocks_per_context_max": ("AIBRIX_SYNC_MAX_PREFIXES_PER_CONTEXT", _count),
}
_ROUTER: Final = {
    "imbalance_limit": ("AIBRIX_PREFIX_CACHE_POD_RUNNING_REQUEST_IMBALANCE_ABS_COUNT", _count),
    "deviation_factor": ("AIBRIX_PREFIX_CACHE_STANDARD_DEVIATION_FACTOR", _count),
}
_OTHERS: Final = {
    "block_size": ("AIBRIX_PREFIX_CACHE_BLOCK_SIZE", _tokens),
    "synced_idle_s": ("AIBRIX_SYNC_EVICTION_DURATION_MINUTES", _minutes),
    "eviction_interval_s": ("AIBRIX_SYNC_EVICTION_INTERVAL_SECONDS", _count),
    "local_blocks_max": ("AIBRIX_PREFIX_CACHE_BLOCK_NUMBER", _count),
    "local_idle_s": ("AIBRIX_PREFIX_CACHE_EVICTION_DURATION_MINS", _minutes),
}


def _given(
    environment: Mapping[str, str], table: Mapping[str, tuple[str, Callable[[str], Any]]]
) -> dict[str, Any]:
    return {
        field: _read(environment, name, parser)
        for field, (name, parser) in table.items()
        if name in environment
    }


def _read(environment: Mapping[str, str], name: str, parser: Callable[[str], T]) -> T:
    try:
        return parser(environment[name])
    except (KeyError, ValueError) as reason:
        raise ConfigurationError(f"{name} wants {_WANTED[parser]}, not {environment[name]!r}") from reason
