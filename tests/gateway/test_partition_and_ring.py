"""A link that loses what is on the way: what the ring has comes back, of the rest the source says so."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.integration

POD = "default/engine-0"
HERE = {"pod_key": POD}
LOST = 12
"""Requests that the gateway hears nothing of, each a batch at least."""


class Stand:
    """One engine, a gateway behind a link, an observer beside it; ten blocks are held and known."""

    def __init__(self, fleet: Any, complete: Any, prompt_of: Any) -> None:
        (self.link,) = fleet.relays()
        (self.engine,) = fleet.engines
        self.gateway = fleet.gateway()
        self.observer = fleet.observer(self.gateway)
        self._complete, self._prompt_of = complete, prompt_of
        self.ask(1)
        self.agreed()

    def ask(self, *seeds: int) -> None:
        """One request straight to the engine each: ten new blocks, one batch or more."""
        for seed in seeds:
            assert self._complete(self.engine, self._prompt_of(10, seed=seed))[0] == 200

    def lose(self) -> None:
        """Cut the link, let the engine go on, and mend it."""
        self.link.cut()
        self.gateway.wait_for(
            "the loss of the connection",
            lambda page: page.value("aibrix_kvcache_zmq_connection_status", **HERE) == 0,
            timeout_s=30.0,
        )
        self.ask(*range(2, 2 + LOST))
        self.link.mend()

    def agreed(self) -> Any:
        """The page of a cut at which the gateway has applied everything and nothing is wrong."""
        return self.observer.wait_for(
            "an index that equals the truth", lambda page: caught_up(page) and not page.divergence(), 30.0
        )


def caught_up(page: Any) -> bool:
    published, applied = (
        [v for (name, labels), v in page.samples.items() if name == metric and dict(labels)["pod_key"] == POD]
        for metric in ("resync_published_sequence", "resync_applied_sequence")
    )
    return bool(published) and published == applied


@pytest.fixture
def stand(lone_engine: Any, complete: Any, prompt_of: Any) -> Callable[..., Stand]:
    return lambda *arguments: Stand(lone_engine(*arguments), complete, prompt_of)


def test_what_the_ring_still_has_is_asked_for_comes_complete_and_the_index_equals_the_truth(
    stand: Callable[..., Stand],
) -> None:
    here = stand()
    before = here.gateway.page()
    here.lose()
    after = here.gateway.wait_for(
        "an exact source", lambda page: page.value("resync_gateway_source_exact", **HERE) == 1, 30.0
    )
    asked, done, failed = (
        after.value(f"aibrix_kvcache_zmq_replay_{what}_total", **HERE)
        - before.value(f"aibrix_kvcache_zmq_replay_{what}_total", **HERE)
        for what in ("requests", "success", "failures")
    )
    assert asked >= 1
    assert (done, failed) == (asked, 0)
    seen = here.agreed()
    assert seen.value("resync_truth_blocks", **HERE) >= 100
    assert seen.total("resync_index_blocks") == seen.value("resync_truth_blocks", **HERE)


def test_what_the_ring_has_lost_degrades_the_source_which_is_purged_and_says_so(
    stand: Callable[..., Stand],
) -> None:
    ring = '{"enable_kv_cache_events": true, "replay_endpoint": "tcp://*:5558", "buffer_steps": 4}'
    here = stand("--kv-events-config", ring)
    here.lose()
    page = here.gateway.wait_for(
        "a source that is followed again and given up on",
        lambda page: (
            page.value("aibrix_kvcache_zmq_connection_status", **HERE) == 1
            and "no longer in the publisher's ring" in here.gateway.log()
        ),
        timeout_s=60.0,
    )
    assert page.value("aibrix_kvcache_zmq_replay_failures_total", **HERE) >= 1
    here.ask(100)
    lacking = here.observer.wait_for("blocks that nobody can know of", lambda page: page.divergence(), 30.0)
    assert {kind for _, kind in lacking.divergence()} == {"missing"}, "nothing that is believed is untrue"
    here.ask(*range(101, 115))
    here.agreed()
    assert here.gateway.page().value("resync_gateway_source_exact", **HERE) == 0, "right, and not known to be"
