"""The load's life: listen, fill the engines, send until SIGTERM."""

import asyncio
import errno
import logging
import random
import signal
import sys

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from resync.kits import programs
from resync.kits.clocks import SystemClock
from resync.kits.waits import WaitTimeoutError, wait_until_async
from resync.load.client import Client
from resync.load.driving import Driver
from resync.load.filling import fill
from resync.load.metrics import LoadMetrics
from resync.load.options import Options
from resync.load.plans import planned
from resync.load.surges import Surges

GATEWAY_TIMEOUT_S = 30.0
"""The load waits this long for the gateway to come up, then sends anyway: an open loop does not negotiate."""
SHUTDOWN_TIMEOUT_S = 0.5

log = logging.getLogger(__name__)


def run(options: Options) -> int:
    """Run until SIGTERM or SIGINT: 0. Returns 1, with a sentence logged, when the address cannot be used."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
    try:
        programs.run(_run(options))
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}:
            raise
        log.error("cannot listen: %s", error)  # noqa: TRY400 - the sentence is all there is to know
        return 1
    return 0


async def _run(options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = LoadMetrics(asked_rate=options.rate)
    client = Client(
        model=options.model,
        max_tokens=options.max_tokens,
        host=options.host,
        timeout_s=options.timeout_s,
        connections_max=options.in_flight_max,
    )
    surges = Surges(options, client, metrics, clock=SystemClock())
    runner = web.AppRunner(
        _application(metrics.registry, surges), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.http_port).start()
        log.info("listening on http://%s:%d", *runner.addresses[0])
        await _send_until(stop, options, client, metrics)
    finally:
        await surges.stop()
        await client.close()
        await runner.cleanup()


async def _send_until(stop: asyncio.Event, options: Options, client: Client, metrics: LoadMetrics) -> None:
    async with asyncio.TaskGroup() as group:
        work = [group.create_task(_drive(options, client, metrics))]
        for place, engine in enumerate(options.engines):
            dice = random.Random(f"{options.seed} filling {place}")
            blocks, size = options.fill_blocks, options.shape.block_size
            work.append(group.create_task(fill(client, engine, blocks=blocks, block_size=size, dice=dice)))
        await stop.wait()
        log.info("asked to stop")
        for task in work:
            task.cancel()


async def _drive(options: Options, client: Client, metrics: LoadMetrics) -> None:
    try:
        await wait_until_async(
            lambda: client.healthy(options.gateway),
            what=f"the gateway at {options.gateway} to answer /health",
            timeout_s=GATEWAY_TIMEOUT_S,
        )
    except WaitTimeoutError as error:
        log.warning("sending anyway: %s", error)
    log.info("sending %g requests a second to %s", options.rate, options.gateway)
    await Driver(options, client, metrics, clock=SystemClock()).run(planned(options))


def _application(registry: CollectorRegistry, surges: Surges) -> web.Application:
    async def health(_: web.Request) -> web.Response:
        return web.Response()

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/health", health), web.get("/metrics", metrics), *surges.routes()])
    return application
