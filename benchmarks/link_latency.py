"""What the link costs, and how exactly it delays: `python benchmarks/link_latency.py`.

A client and an echo server, each in a process of its own, as pods are. Added latency: half of (round trip
through the link minus round trip without it). Delay error: round trip with 50 ms on one direction, minus
the untouched one, minus 50 ms. `--busy` adds work to the link's loop, as node and mesh do. (A link in a
thread of its own was measured too: no better, because the interpreter lock makes it wait just the same; so
link, node and mesh share one loop.)
"""

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import time
from contextlib import AsyncExitStack, suppress
from multiprocessing.connection import Connection

from resync.lab.link import Destination, Endpoints, Link, Rule

SERVER = Endpoints("server", "127.210.0.2", "127.210.1.2", (18000,))
CLIENT = Endpoints("client", "127.210.0.3", "127.210.1.3", ())
DELAY_S = 0.05


def echo(ready: Connection) -> None:
    """Answer every message with itself, for ever."""
    listener = socket.create_server((SERVER.bind_ip, SERVER.ports[0]), backlog=16)
    ready.send("listening")
    while True:
        peer, _ = listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with peer, suppress(ConnectionResetError):
            while data := peer.recv(4096):
                peer.sendall(data)


def ask(commands: Connection) -> None:
    """For each (host, count): send back the round trips in seconds of that many messages of 200 bytes."""
    while command := commands.recv():
        host, count = command
        address = (host, SERVER.ports[0])
        with socket.create_connection(address, source_address=(CLIENT.bind_ip, 0)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            commands.send([_round_trip(sock) for _ in range(count)][count // 10 :])


def _round_trip(sock: socket.socket) -> float:
    time.sleep(0.002)  # spaced messages, as events are; not a wait for anything
    started_s = time.perf_counter()
    sock.sendall(b"x" * 200)
    waiting = 200
    while waiting:
        waiting -= len(sock.recv(4096))
    return time.perf_counter() - started_s


async def measure(link: Link, commands: Connection, count: int) -> None:
    """Print the three distributions."""

    async def ask_for(host: str, messages: int) -> list[float]:
        commands.send((host, messages))
        trips: list[float] = await asyncio.to_thread(commands.recv)
        return trips

    await link.open_pod(SERVER)
    await link.open_pod(CLIENT)
    bare = statistics.median(await ask_for(SERVER.bind_ip, count))
    through = await ask_for(SERVER.pod_ip, count)
    show("added latency, one way, untouched", [(trip - bare) / 2 for trip in through])
    everywhere: tuple[Destination, ...] | None = None
    await link.set_rules(CLIENT.uid, [Rule("netem", {"time": "50ms"}, everywhere)])
    delayed = await ask_for(SERVER.pod_ip, max(count // 10, 50))
    base = statistics.median(through)
    show("delay error at 50 ms", [trip - base - DELAY_S for trip in delayed])


def show(what: str, values_s: list[float]) -> None:
    """One line: p50, p99 and worst in milliseconds."""
    cuts = statistics.quantiles(values_s, n=100, method="inclusive")
    p50, p99, worst = (value * 1e3 for value in (cuts[49], cuts[98], max(values_s)))
    print(f"{what}: p50 {p50:.3f} ms, p99 {p99:.3f} ms, worst {worst:.3f} ms")


async def busy() -> None:
    """What a node and a mesh do to a loop, and more: 1 ms of work every 10 ms, 5 ms twice a second."""
    turn = 0
    while True:
        turn += 1
        until_s = time.perf_counter() + (0.005 if turn % 50 == 0 else 0.001)
        while time.perf_counter() < until_s:
            pass
        await asyncio.sleep(0.01)


async def run(*, loaded: bool, count: int) -> None:
    """Start both processes, measure, stop both."""
    ready, ready_far = multiprocessing.Pipe()
    commands, commands_far = multiprocessing.Pipe()
    children = [
        multiprocessing.Process(target=echo, args=(ready_far,), daemon=True),
        multiprocessing.Process(target=ask, args=(commands_far,), daemon=True),
    ]
    for child in children:
        child.start()
    ready.recv()
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(Link(seed=1))
        other = asyncio.get_running_loop().create_task(busy()) if loaded else None
        await measure(link, commands, count)
        if other is not None:
            other.cancel()
    for child in children:
        child.terminate()
        child.join()


def main() -> None:
    """Measure as the arguments say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", action="store_true", help="other work in the link's loop")
    parser.add_argument("--count", type=int, default=2000, help="messages for the untouched measurement")
    arguments = parser.parse_args()
    asyncio.run(run(loaded=arguments.busy, count=arguments.count))


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
