"""`python -m resync.lab.api`: serve until SIGTERM."""

import argparse
import asyncio
import ipaddress
import logging
import random
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from resync.kits import programs
from resync.kits.clocks import SystemClock
from resync.lab.api import owning
from resync.lab.api.definitions import own_definitions, prepare
from resync.lab.api.kubeconfig import make_token, write_kubeconfig, write_private
from resync.lab.api.resources import Catalogue
from resync.lab.api.server import ApiServer
from resync.lab.api.store import Store
from resync.lab.api.verbs import Verbs

log = logging.getLogger("resync.lab.api")

SHUTDOWN_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    host: str
    port: int
    port_file: Path | None
    token_file: Path | None
    kubeconfig: Path | None
    namespace: str
    owner_pid: int | None
    bare: bool


def _loopback(text: str) -> str:
    if not ipaddress.ip_address(text).is_loopback:
        raise argparse.ArgumentTypeError(
            f"{text} is not a loopback address, and the lab listens nowhere else"
        )
    return text


def parse(arguments: list[str]) -> Options:
    """The options; exits 2 with a sentence on a wrong one."""
    parser = argparse.ArgumentParser("python -m resync.lab.api", description="The lab's Kubernetes API.")
    parser.add_argument("--host", type=_loopback, default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--port-file", type=Path, help="gets the port when the server answers")
    parser.add_argument("--token-file", type=Path, help="bearer token; made when absent")
    parser.add_argument("--kubeconfig", type=Path, help="gets a kubeconfig when the server answers")
    parser.add_argument("--namespace", default="default", help="the kubeconfig's namespace")
    parser.add_argument("--owner-pid", type=int, help="end when this process ends")
    parser.add_argument("--bare", action="store_true", help="do not bring the mesh's kinds along")
    return Options(**vars(parser.parse_args(arguments)))


async def serve(options: Options) -> None:
    """Serve until a signal or the owner's end. Raises OSError when the port or a file cannot be had."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    verbs = Verbs(Store(), Catalogue(), SystemClock(), random.SystemRandom())
    prepare(verbs, [] if options.bare else own_definitions())
    token = _token(options)
    server = ApiServer(verbs, token)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        with owning.watched(options.owner_pid, ending):
            await web.TCPSite(runner, options.host, options.port).start()
            _announce(options, runner.addresses[0][1], token)
            await ending.wait()
    finally:
        server.closing.set()
        await runner.cleanup()


def _token(options: Options) -> str:
    """The token of the file, made when absent; without a file one that the kubeconfig alone knows."""
    path = options.token_file
    if path is None:
        return make_token() if options.kubeconfig else ""
    if not path.exists():
        write_private(path, make_token() + "\n")
    return path.read_text().strip()


def _announce(options: Options, port: int, token: str) -> None:
    if options.kubeconfig:
        url = f"http://{options.host}:{port}"
        write_kubeconfig(options.kubeconfig, url, options.namespace, token=token)
    if options.port_file:
        write_private(options.port_file, f"{port}\n")
    log.info("serving on %s:%d", options.host, port)


def main() -> int:
    """0 after SIGTERM, 2 when it could not serve, with one sentence."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
    try:
        programs.run(serve(parse(sys.argv[1:])))
    except OSError as error:
        log.error("cannot serve: %s", error)  # noqa: TRY400 - a user's mistake shows no traceback
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
