"""The task document's tables, row by row: what is enabled, who is warned, whom to subscribe to, which index.

Each row holds under the names that the document uses and under those that AIBrix reads today.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.kvsync import configuration, fleet
from resync.kvsync.configuration import Configuration, IndexerKind, parse
from resync.kvsync.errors import ConfigurationError
from resync.kvsync.fleet import FleetSettings, PodFacts
from resync.kvsync.holdings import IndexLimits
from resync.kvsync.router import RouterSettings

pytestmark = pytest.mark.unit

NAMES = {
    "the document's names": ("AIBRIX_USE_REMOTE_TOKENIZER", "AIBRIX_KV_EVENT_SYNC_ENABLED"),
    "AIBrix's names": (
        "AIBRIX_PREFIX_CACHE_USE_REMOTE_TOKENIZER",
        "AIBRIX_PREFIX_CACHE_KV_EVENT_SYNC_ENABLED",
    ),
}

DEPENDENCIES = {
    # remote tokenizer and kv sync as asked for; kv sync as enabled, whether there is a warning
    "both enabled": ("true", "true", True, False),
    "kv sync without remote tokenizer": ("false", "true", False, True),
    "remote tokenizer only": ("true", "false", False, False),
    "both disabled": ("false", "false", False, False),
}

BACKWARD_COMPATIBILITY = {
    # remote tokenizer and kv sync as asked for; the indexer by its package's name
    "both disabled - uses original indexer": ("false", "false", "prefixcacheindexer"),
    "only remote tokenizer - uses original indexer": ("true", "false", "prefixcacheindexer"),
    "both enabled - uses sync indexer": ("true", "true", "syncprefixcacheindexer"),
}
INDEXERS = {"prefixcacheindexer": IndexerKind.LOCAL, "syncprefixcacheindexer": IndexerKind.SYNC}

MODEL = {"model.aibrix.ai/name": "model"}
ENABLED = {**MODEL, "model.aibrix.ai/kv-events-enabled": "true"}
SHOULD_SUBSCRIBE = {
    # labels, phase and address of the pod; whether to subscribe
    "eligible pod": (ENABLED, "Running", "10.0.0.1", True),
    "no kv events label": (MODEL, "Running", "10.0.0.1", False),
    "not running": (ENABLED, "Pending", None, False),
    "no IP": (ENABLED, "Running", "", False),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("row", DEPENDENCIES.values(), ids=DEPENDENCIES)
@pytest.mark.scenario(
    "pod-lifecycle/both-enabled",
    "pod-lifecycle/remote-tokenizer-only",
    "pod-lifecycle/both-disabled",
    "errors/kv-sync-without-remote-tokenizer",
)
def test_configuration_dependencies(row: tuple[str, str, bool, bool], names: tuple[str, str]) -> None:
    *values, kv_enabled, warned = row
    found = parse(dict(zip(names, values, strict=True)))
    assert found.kv_sync is kv_enabled
    assert bool(found.warnings) is warned
    if warned:
        assert found.warnings[0].startswith("KV-event sync needs the remote tokenizer and stays off")


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("row", BACKWARD_COMPATIBILITY.values(), ids=BACKWARD_COMPATIBILITY)
@pytest.mark.scenario(
    "pod-lifecycle/both-enabled", "pod-lifecycle/remote-tokenizer-only", "pod-lifecycle/both-disabled"
)
def test_backward_compatibility_of_the_router(row: tuple[str, str, str], names: tuple[str, str]) -> None:
    *values, indexer = row
    assert parse(dict(zip(names, values, strict=True))).indexer is INDEXERS[indexer]


@pytest.mark.parametrize("row", SHOULD_SUBSCRIBE.values(), ids=SHOULD_SUBSCRIBE)
@pytest.mark.scenario(
    "pod-lifecycle/add",
    "pod-lifecycle/no-kv-events-label",
    "pod-lifecycle/not-running",
    "pod-lifecycle/no-ip",
)
def test_should_subscribe(row: tuple[dict[str, str], str, str | None, bool]) -> None:
    labels, phase, ip, expected = row
    pod = PodFacts("default/test-pod", "uid", ip, phase, labels)
    assert bool(fleet.wanted(pod, FleetSettings(kv_sync=True))) is expected
    assert fleet.wanted(pod, FleetSettings(kv_sync=False)) == ()


def test_what_is_absent_is_off_as_in_aibrix_or_what_the_caller_says() -> None:
    assert parse({}) == Configuration()
    assert (parse({}).kv_sync, parse({}).indexer) == (False, IndexerKind.LOCAL)
    assert parse({}, absent=True).kv_sync
    assert not parse({"AIBRIX_KV_EVENT_SYNC_ENABLED": "false"}, absent=True).kv_sync


def test_what_is_idle_goes_by_the_index_that_is_asked() -> None:
    """The synced one keeps what engines hold unless told otherwise; guesses age by themselves."""
    assert (parse({}).idle_s, parse({}, absent=True).idle_s) == (1200.0, None)
    said = {"AIBRIX_SYNC_EVICTION_DURATION_MINUTES": "1"}
    assert (parse(said).idle_s, parse(said, absent=True).idle_s) == (1200.0, 60.0)


def test_the_current_name_wins_over_the_document_s() -> None:
    both = {"AIBRIX_USE_REMOTE_TOKENIZER": "false", "AIBRIX_PREFIX_CACHE_USE_REMOTE_TOKENIZER": "true"}
    assert parse(both).remote_tokenizer


@pytest.mark.parametrize(
    ("name", "value"),
    [(configuration.TOKENIZER_TYPE, "character"), (configuration.TOKENIZER_ENDPOINT, "")],
)
def test_a_tokenizer_that_is_not_remote_after_all_turns_sync_off_and_says_both(name: str, value: str) -> None:
    """AIBrix subscribes to nobody then, and routes by an index that nobody feeds."""
    found = parse({name: value}, absent=True)
    assert (found.kv_sync, found.remote_tokenizer, found.indexer) == (False, False, IndexerKind.LOCAL)
    assert [name in warning for warning in found.warnings] == [True, False]
    assert parse({configuration.TOKENIZER_TYPE: "remote"}, absent=True).warnings == ()
    assert parse({name: value}).warnings == ()


def test_everything_that_can_be_said() -> None:
    said = {
        "AIBRIX_PREFIX_CACHE_BLOCK_SIZE": "64",
        "AIBRIX_SYNC_MAX_CONTEXTS": "5",
        "AIBRIX_SYNC_MAX_PREFIXES_PER_CONTEXT": "6",
        "AIBRIX_SYNC_EVICTION_INTERVAL_SECONDS": "7",
        "AIBRIX_SYNC_EVICTION_DURATION_MINUTES": "8",
        "AIBRIX_PREFIX_CACHE_BLOCK_NUMBER": "9",
        "AIBRIX_PREFIX_CACHE_EVICTION_DURATION_MINS": "10",
        "AIBRIX_PREFIX_CACHE_POD_RUNNING_REQUEST_IMBALANCE_ABS_COUNT": "11",
        "AIBRIX_PREFIX_CACHE_STANDARD_DEVIATION_FACTOR": "12",
        "PATH": "is somebody else's",
    }
    assert parse(said) == Configuration(
        block_size=16,
        limits=IndexLimits(contexts_max=5, blocks_per_context_max=6),
        eviction_interval_s=7,
        synced_idle_s=480.0,
        local_blocks_max=9,
        local_idle_s=600.0,
        router=RouterSettings(imbalance_limit=11, deviation_factor=12),
    )


@pytest.mark.parametrize(
    ("name", "value", "wants"),
    [
        ("AIBRIX_KV_EVENT_SYNC_ENABLED", "yes", "true or false"),
        ("AIBRIX_PREFIX_CACHE_BLOCK_SIZE", "66", "the bytes of one block"),
        ("AIBRIX_PREFIX_CACHE_BLOCK_SIZE", "0", "the bytes of one block"),
        ("AIBRIX_SYNC_MAX_CONTEXTS", "many", "a number above 0"),
        ("AIBRIX_SYNC_MAX_CONTEXTS", "0", "a number above 0"),
        ("AIBRIX_SYNC_EVICTION_DURATION_MINUTES", "-1", "a number of minutes above 0"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, value: str, wants: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} wants {wants}.*{value!r}"):
        parse({name: value})


SWITCHES = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"]


@given(st.dictionaries(st.sampled_from([*NAMES["AIBrix's names"]]), st.sampled_from(SWITCHES)), st.booleans())
def test_kv_sync_is_on_only_with_a_tokenizer_and_off_never_in_silence(said: Any, absent: Any) -> None:
    found = parse(said, absent=absent)
    assert not (found.kv_sync and not found.remote_tokenizer)
    assert found.kv_sync is (found.indexer is IndexerKind.SYNC)
    assert bool(found.warnings) is (found.kv_sync_requested and not found.kv_sync)
