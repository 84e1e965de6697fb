"""The lab's network: every pod's advertised address is ours, and every connection to it passes through here.

                 egress rules of the caller and         egress rules of the callee and
                 ingress rules of the callee            ingress rules of the caller
    caller process  ------ forward lane ------>  callee process  ------ backward lane ------>  caller process
    (from its bind address)                      (at its bind address)

A process listens on its bind address and connects from it; the source address of an accepted connection
says which pod is calling. Whoever has no pod's address is outside. The upstream socket is bound to the
caller's advertised address, so the callee sees who calls as it would on a pod network.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import Final, Protocol, Self

from resync.lab.link.alarm import Alarm
from resync.lab.link.connection import OUTSIDE, Connection, Ends
from resync.lab.link.dice import branch, seeded
from resync.lab.link.errors import AddressInUseError, LinkError, UnknownPodError
from resync.lab.link.faults import Fault, cuts, faults_of
from resync.lab.link.rules import ANY_PORT, Destination, Peer, Rule, Way
from resync.lab.link.streams import Side, reset
from resync.lab.link.synfilter import drop_syns

CONNECTIONS_MAX: Final = 4096
_BACKLOG: Final = 1024
_EVERYBODY: Final = (Destination(IPv4Network("0.0.0.0/0")),)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A pod on the link: its advertised address, its real one, and the ports it declares."""

    uid: str
    pod_ip: str
    bind_ip: str
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """What the link is doing: counts since the start, except `open_connections`."""

    open_connections: int
    accepted: int
    refused_for_limit: int


class LinkPort(Protocol):
    """What the node may ask of a link, whichever thread it lives in."""

    async def open_pod(self, pod: Endpoints) -> None:
        """Listen on the pod's advertised address. Raises AddressInUseError."""
        ...

    async def close_pod(self, uid: str) -> None:
        """Stop listening and reset what is open. Closing an unknown pod raises UnknownPodError."""
        ...

    async def set_rules(self, uid: str, rules: Sequence[Rule]) -> None:
        """All rules on the pod from now on. Raises UnknownPodError, UnsupportedFaultError."""
        ...


@dataclass(slots=True)
class _Pod:
    endpoints: Endpoints
    servers: list[tuple[int, asyncio.Server]]
    rules: tuple[tuple[Rule, tuple[Fault, ...]], ...] = ()
    dropped: dict[int, frozenset[IPv4Network]] = field(default_factory=dict)

    def faults(self, rule: Rule) -> tuple[Fault, ...]:
        """What the rule means; of a rule that is there already the same as before, with what it remembers."""
        return next((faults for known, faults in self.rules if known == rule), None) or faults_of(rule)


class Link:
    """The relay. `async with Link(...)`: it lives in the loop that enters it.

    `seed` makes every jitter draw repeatable, connection by connection. A `deaf` link takes rules and
    ignores them: for tests that need a mesh which says "injected" while nothing is.
    """

    def __init__(self, *, seed: int, deaf: bool = False) -> None:
        self._dice = seeded(seed)
        self._deaf = deaf
        self._pods: dict[str, _Pod] = {}
        self._by_bind_ip: dict[str, _Pod] = {}
        self._connections: set[Connection] = set()
        self._counts: Counter[str] = Counter()
        self._stack = AsyncExitStack()
        self._tasks: asyncio.TaskGroup | None = None
        self._alarm: Alarm | None = None

    async def __aenter__(self) -> Self:
        """Take the running loop."""
        self._tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._alarm = Alarm(asyncio.get_running_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every pod; what is open is reset."""
        for uid in list(self._pods):
            await self.close_pod(uid)
        for connection in list(self._connections):
            connection.abort()
        if self._alarm is not None:
            self._alarm.close()
        await self._stack.__aexit__(kind, error, trace)

    async def open_pod(self, pod: Endpoints) -> None:
        """Listen on every port of the pod.

        Raises AddressInUseError, LinkError for a pod that is open already.
        """
        if pod.uid in self._pods or pod.bind_ip in self._by_bind_ip:
            raise LinkError(f"the link has already opened pod {pod.uid} or its address {pod.bind_ip}")
        entry = _Pod(pod, [])
        self._pods[pod.uid] = self._by_bind_ip[pod.bind_ip] = entry
        try:
            for port in pod.ports:
                entry.servers.append((port, await self._listen(entry, port)))
            self._filter()
        except OSError as error:
            await self.close_pod(pod.uid)
            raise AddressInUseError(
                f"the link cannot listen on {pod.pod_ip}, ports {list(pod.ports)}: {error.strerror or error};"
                " another lab with the same addresses may be running (`resync lab down`)"
            ) from error

    async def close_pod(self, uid: str) -> None:
        """Stop listening for the pod and reset every connection it has. Raises UnknownPodError."""
        pod = self._pods.pop(uid, None)
        if pod is None:
            raise UnknownPodError(f"the link has no pod {uid}")
        del self._by_bind_ip[pod.endpoints.bind_ip]
        for _, server in pod.servers:
            server.close()
        for connection in [c for c in self._connections if uid in (c.ends.caller_uid, c.ends.callee_uid)]:
            connection.abort()
        self._filter()

    async def set_rules(self, uid: str, rules: Sequence[Rule]) -> None:
        """Replace the rules of the pod; live connections follow at once.

        Raises UnknownPodError, and UnsupportedFaultError or ValueError before anything has changed.
        """
        pod = self._pods.get(uid)
        if pod is None:
            raise UnknownPodError(f"the link has no pod {uid}; was it deleted?")
        pod.rules = tuple((rule, pod.faults(rule)) for rule in rules)
        self._filter()
        for connection in list(self._connections):
            if uid in (connection.ends.caller_uid, connection.ends.callee_uid):
                connection.refresh()

    def statistics(self) -> LinkStatistics:
        """What the link is doing now."""
        return LinkStatistics(len(self._connections), self._counts["accepted"], self._counts["refused"])

    async def _listen(self, pod: _Pod, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()

        def accepted(side: Side, transport: asyncio.Transport) -> None:
            self._accept(pod.endpoints, port, side, transport)

        def make() -> Side:
            return Side(accepted)

        return await loop.create_server(make, pod.endpoints.pod_ip, port, backlog=_BACKLOG)

    def _accept(self, callee: Endpoints, port: int, side: Side, transport: asyncio.Transport) -> None:
        peername = transport.get_extra_info("peername")
        # Without a peer name the caller has gone again before it was accepted.
        if len(self._connections) >= CONNECTIONS_MAX or self._alarm is None or peername is None:
            self._counts["refused"] += 1
            reset(transport)
            return
        self._counts["accepted"] += 1
        connection = Connection(
            self._ends(callee, port, peername),
            self._alarm,
            branch(self._dice),
            faults=self._faults,
            spawn=self._dial,
            on_closed=self._connections.discard,
        )
        self._connections.add(connection)
        connection.accept(side, transport)

    def _ends(self, callee: Endpoints, port: int, peername: tuple[str, int]) -> Ends:
        source_ip, source_port = peername
        calling = self._by_bind_ip.get(source_ip)
        advertised = calling.endpoints.pod_ip if calling is not None else source_ip
        return Ends(
            caller_uid=calling.endpoints.uid if calling is not None else OUTSIDE,
            callee_uid=callee.uid,
            caller=Peer(IPv4Address(advertised), source_port),
            callee=Peer(IPv4Address(callee.pod_ip), port),
            upstream=(callee.bind_ip, port),
            upstream_source=(advertised, 0) if calling is not None else None,
        )

    def _faults(self, way: Way) -> tuple[Fault, ...]:
        if self._deaf:
            return ()
        sides = ((way.leaves, way.towards, False), (way.reaches, way.origin, True))
        return tuple(
            fault
            for uid, peer, ingress in sides
            for rule, faults in (self._pods[uid].rules if uid in self._pods else ())
            if rule.ingress == ingress and rule.touches(peer)
            for fault in faults
        )

    def _filter(self) -> None:
        """Let no SYN in where nothing gets through, there or back."""
        rules = [faults for pod in self._pods.values() for _, faults in pod.rules]
        cutting = not self._deaf and any(cuts(faults) for faults in rules)
        for pod in self._pods.values():
            for port, server in pod.servers:
                sources = frozenset(self._cut_off(pod, port) if cutting else ())
                if sources != pod.dropped.get(port, frozenset()):
                    pod.dropped[port] = sources
                    for listening in server.sockets:
                        drop_syns(listening, sources)

    def _cut_off(self, pod: _Pod, port: int) -> Iterator[IPv4Network]:
        """Real addresses of callers that cannot reach this port; of outsiders, what the pod's rules name."""
        callee = Peer(IPv4Address(pod.endpoints.pod_ip), port)
        for uid, calling in self._pods.items():
            way = Way(uid, Peer(IPv4Address(calling.endpoints.pod_ip), ANY_PORT), pod.endpoints.uid, callee)
            if cuts(self._faults(way) + self._faults(way.back)):
                yield IPv4Network(calling.endpoints.bind_ip)
        for rule, faults in pod.rules:
            if cuts(faults):
                peers = _EVERYBODY if rule.peers is None else rule.peers
                yield from (peer.network for peer in peers if peer.port == ANY_PORT)

    def _dial(self, connection: Connection) -> None:
        assert self._tasks is not None
        self._tasks.create_task(connection.dial(), name=f"dial {connection.ends.upstream}")
