"""What an engine's stream does to the index and to its series: the batch, and what its pod says of itself."""

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from resync.gateway.metrics import SourceFamilies, SourceMetrics
from resync.gateway.parts import Admission
from resync.gateway.settings import Identity, Patience, Settings
from resync.gateway.sources import EnginePod, SubscribedEngine
from resync.kits.clocks import ManualClock
from resync.kvsync.decoding import decode_batch
from resync.kvsync.index import PrefixIndex
from resync.kvsync.source import Source
from resync.transport.subscription import Subscription

pytestmark = pytest.mark.unit

POD = "default/engine-0"
MODEL = "llama2-7b"
TOKENS = [1, 2, 3, 4]
STORED = {
    "type": "BlockStored",
    "block_hashes": [7],
    "parent_block_hash": None,
    "token_ids": TOKENS,
    "block_size": 4,
}


def engine(index: PrefixIndex, registry: CollectorRegistry, lora_id: int = -1) -> SubscribedEngine:
    return SubscribedEngine(
        EnginePod(Source(POD, "127.0.0.1", uid="uid", model=MODEL, lora_id=lora_id)),
        index=index,
        metrics=SourceMetrics(SourceFamilies(registry), POD),
        admission=Admission(),
        subscription=Subscription,
        clock=ManualClock(),
        settings=Settings(identity=Identity.from_environment({})),
        patience=Patience(),
    )


@pytest.mark.parametrize(
    ("of_the_pod", "of_the_event", "adapter"),
    [(-1, None, None), (3, None, "3"), (3, "mine", "mine"), (-1, "mine", "mine")],
)
def test_blocks_go_under_the_adapter_of_the_event_else_of_the_pod(
    of_the_pod: int, of_the_event: str | None, adapter: str | None
) -> None:
    index = PrefixIndex(block_size=4)
    batch = [0.0, [{**STORED, "lora_name": of_the_event}], 0]
    engine(index, CollectorRegistry(), of_the_pod).apply(
        0, decode_batch(msgspec.msgpack.encode(batch)), live=True
    )
    found = {name: index.match(TOKENS, name, model=MODEL) for name in (None, "3", "mine")}
    assert found == {name: {POD: 1} if name == adapter else {} for name in found}


def test_a_field_that_nobody_knows_is_counted_and_its_event_applied() -> None:
    index, registry = PrefixIndex(block_size=4), CollectorRegistry()
    batch = [0.0, [{**STORED, "colour": "red", "weight": 1}], 0]
    engine(index, registry).apply(0, decode_batch(msgspec.msgpack.encode(batch)), live=True)
    assert registry.get_sample_value("resync_gateway_unknown_fields_total", {"pod_key": POD}) == 2
    assert index.match(TOKENS, model=MODEL) == {POD: 1}
