"""Each engine's pool is filled to its brim once, so that evictions begin with the load and not later.

At the default rate an engine stores about 40 new blocks a second; an empty pool of 400 would evict nothing
for ten seconds, and a fault in that time would test half of what an index has to do. So every engine gets
prompts that share nothing, straight and once. A later restart is not refilled: what an engine lost is part of
the experiment.
"""

import logging
import random

from resync.kits.waits import WaitTimeoutError, wait_until_async
from resync.load.client import Client
from resync.load.families import filler

READY_TIMEOUT_S = 60.0
PROMPT_BLOCKS = 40
"""Blocks of one filling prompt: a tenth of the default pool."""

log = logging.getLogger(__name__)


async def fill(client: Client, engine: str, *, blocks: int, block_size: int, dice: random.Random) -> None:
    """Store `blocks` blocks in one engine once it is up; says in the log when it cannot."""
    if not blocks:
        return
    try:
        await wait_until_async(
            lambda: client.healthy(engine), what=f"{engine} to answer /health", timeout_s=READY_TIMEOUT_S
        )
    except WaitTimeoutError as error:
        log.warning("not filled: %s", error)
        return
    for stored in range(0, blocks, PROMPT_BLOCKS):
        prompt = filler(min(PROMPT_BLOCKS, blocks - stored), block_size, dice)
        answer = await client.complete(engine, prompt, max_tokens=1)
        if answer.status != "200":
            log.warning(
                "%s filled with %d of %d blocks, then answered %s", engine, stored, blocks, answer.status
            )
            return
    log.info("%s filled with %d blocks", engine, blocks)
