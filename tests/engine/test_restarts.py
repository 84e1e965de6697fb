"""A new life of an engine in the same place: numbers from 0 again, its cache empty or the old one."""

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resync.engine.errors import OptionsError
from resync.engine.hashing import FullBlock, extend
from resync.engine.keeping import CacheFile
from resync.kvsync.records import BlockStored

pytestmark = pytest.mark.integration
EngineFactory = Callable[..., Any]
Listen = Callable[[Any], Any]
Replay = Callable[[Any, int], Any]


@pytest.fixture
def ports() -> Iterator[dict[str, str]]:
    """Two endpoints that stay the same over a restart.

    They are kept for the whole test: a socket that is bound and does not listen is in nobody's way who names
    its port, and the kernel gives that port to nobody else who asks for any.
    """
    with socket.socket() as one, socket.socket() as two:
        for keeper in (one, two):
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.bind(("127.0.0.1", 0))
        yield {
            "endpoint": f"tcp://*:{one.getsockname()[1]}",
            "replay_endpoint": f"tcp://*:{two.getsockname()[1]}",
        }


def test_a_restart_is_a_new_incarnation_that_begins_at_0_with_nothing(
    engine: EngineFactory, listen: Listen, replay: Replay, ports: dict[str, str]
) -> None:
    first = engine(**ports)
    stream = listen(first)
    for start in range(0, 300, 100):
        first.complete(list(range(start, start + 33)))
    stream.until(2)
    before = first.truth()
    first.process.kill()
    first.process.wait(5)

    second = engine(**ports)
    assert (second.truth()["published_seq"], second.held().total()) == (-1, 0)
    assert second.truth()["incarnation"] != before["incarnation"]
    assert replay(second, 3) == [], "what follows the old life is not to be had, and nothing says so"
    second.complete(list(range(33)))
    assert second.truth()["published_seq"] == 0
    assert second.held(0) <= stream.folded(2), "equal prefixes have equal hashes in every life"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kept_cache_is_held_again_and_published_anew(
    engine: EngineFactory, replay: Replay, tmp_path: Path, number: signal.Signals
) -> None:
    keeping = ("--keep-cache", str(tmp_path / "kept"), "--blocks", "12")
    first = engine(*keeping)
    for start in (0, 100, 200, 0):
        first.complete([*range(start, start + 64), 7])
    held = first.held()
    first.process.send_signal(number)
    first.process.wait(5)

    second = engine(*keeping)
    assert second.held() == held
    assert second.held(-1).total() == 0, "before the first batch nobody had been told of anything"
    [(seq, batch)] = replay(second, 0)
    assert seq == 0
    told: set[int] = set()
    for event in batch.events:
        assert isinstance(event, BlockStored)
        assert event.parent_block_hash in {None, *told}, "a parent comes first"
        told.update(event.block_hashes)
    assert told == set(held)
    usage = second.complete([*range(64), 7])
    assert usage["prompt_tokens_details"]["cached_tokens"] == 64
    last = second.truth()["published_seq"]
    assert [one for one, _ in replay(second, 0)] == list(range(last + 1))


def test_a_kept_cache_keeps_its_order_of_eviction(engine: EngineFactory, tmp_path: Path) -> None:
    def lives(*, restart: bool) -> Any:
        folder = str(tmp_path / str(restart))
        server = engine("--keep-cache", folder, "--blocks", "8")
        for start in (0, 100):
            server.complete([*range(start, start + 48), 7])
        if restart:
            server.process.kill()
            server.process.wait(5)
            server = engine("--keep-cache", folder, "--blocks", "8")
        server.complete([*range(200, 232), 7])
        return server.held()

    assert lives(restart=True) == lives(restart=False)


def test_a_cache_that_is_not_this_engines_is_refused(tmp_path: Path) -> None:
    kept = CacheFile(tmp_path, "default/engine-0")
    assert kept.load(block_size=4) == []
    chain: list[FullBlock] = []
    extend(chain, range(12), block_size=4)
    kept.save([None, *chain])
    assert kept.load(block_size=4) == [None, *chain]
    with pytest.raises(OptionsError, match="are not of 8 tokens: remove it"):
        kept.load(block_size=8)
    kept.path.write_bytes(b"half")
    with pytest.raises(OptionsError, match=r"cannot be read .*: remove it"):
        kept.load(block_size=4)
