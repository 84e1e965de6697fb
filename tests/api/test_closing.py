"""The server's end wakes the watches that wait: none of them holds it up."""

import asyncio

import pytest

from resync.lab.api.watching import Closing, Subscription

pytestmark = pytest.mark.unit

LONG_S = 60.0


def test_a_watch_that_waits_for_changes_is_woken_and_one_that_is_over_is_forgotten() -> None:
    async def scenario() -> None:
        closing, waits, over = Closing(), Subscription(lambda _: True), Subscription(lambda _: True)
        with closing.waking(over):
            pass
        with closing.waking(waits):
            waiting = asyncio.create_task(waits.wait(LONG_S))
            await asyncio.sleep(0)
            assert not waiting.done()
            closing.set()
            async with asyncio.timeout(5):
                await waiting
        assert closing.is_set()
        assert not over.ready.is_set()

    asyncio.run(scenario())
