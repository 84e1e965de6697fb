"""The engine's life: bind, serve, step until SIGTERM."""

import asyncio
import errno
import logging
import signal
import sys
from contextlib import AsyncExitStack

import zmq
from aiohttp import web

from resync.engine import metrics
from resync.engine.history import History
from resync.engine.keeping import CacheFile
from resync.engine.options import Options
from resync.engine.outlets import Outlet, outlet_for
from resync.engine.pool import BlockPool
from resync.engine.scheduling import Scheduler
from resync.engine.serving import EngineServer
from resync.engine.stepping import Stepper
from resync.kits import programs
from resync.kits.clocks import SystemClock

SHUTDOWN_TIMEOUT_S = 0.1
"""For answers that are being written, twice: aiohttp waits before it cancels, and again after it.

Completions get no further once stepping has ended; vLLM aborts them as well.
"""
_ADDRESS_ERRORS = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES})

log = logging.getLogger(__name__)


def run(options: Options) -> int:
    """Run until SIGTERM or SIGINT: 0. Returns 1, with a sentence logged, when an address cannot be used.

    Raises OptionsError when the cache that was kept is not this engine's.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
    try:
        programs.run(_run(options))
    except (OSError, zmq.ZMQError) as error:
        if error.errno not in _ADDRESS_ERRORS:
            raise
        log.error("cannot listen: %s", error)  # noqa: TRY400 - the sentence is all there is to know
        return 1
    return 0


async def _run(options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        outlet = outlet_for(options)
        stack.callback(outlet.close)
        stepper, server = _assemble(options, outlet)
        await _listen(server.application(), options, stack)
        async with asyncio.TaskGroup() as group:
            stepping = group.create_task(stepper.run())
            await stop.wait()
            log.info("asked to stop")
            stepping.cancel()


def _assemble(options: Options, outlet: Outlet) -> tuple[Stepper, EngineServer]:
    clock = SystemClock()
    pool = BlockPool(slots_total=options.blocks, block_size=options.block_size)
    history = History(pool)
    kept = None if options.keep_cache is None else CacheFile(options.keep_cache, options.pod_key)
    if kept is not None:
        pool.restore(kept.load(block_size=options.block_size))
    scheduler = Scheduler(pool, timing=options.timing, seed=options.seed)
    stepper = Stepper(
        scheduler,
        history,
        outlet=outlet,
        clock=clock,
        flaw=options.flaw,
        keep=kept.save if kept else None,
        news_every=options.news_every,
    )
    server = EngineServer(
        stepper,
        history,
        model=options.model,
        pod_key=options.pod_key,
        sources=outlet.sources,
        registry=metrics.registry(scheduler, pool, model=options.model, created_s=clock.wall_s()),
        clock=clock,
    )
    return stepper, server


async def _listen(application: web.Application, options: Options, stack: AsyncExitStack) -> None:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, options.host, options.http_port).start()
    log.info("%s listening on http://%s:%d", options.pod_key, *runner.addresses[0])
