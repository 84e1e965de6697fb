"""When a lab is ready: four questions, asked of those who would know, each with a name and a limit.

A program that is not ours (`--engine-cmd`, `--gateway-cmd`) is asked for one thing, that it listens: it may
have no metrics, no index view and no events.

Kubernetes says whether pods are Ready, Prometheus whether it has seen every target answer, the gateway
whether it follows every engine, the metrics of observer and load whether these are at work. Whatever is
missing is part of the sentence a user reads when the limit passes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import msgspec

from resync.kits.waits import wait_until_async
from resync.lab import children
from resync.lab.errors import LabStartError
from resync.lab.kube import PODS, Kube
from resync.lab.manifests import ENGINE, NAMESPACE, LabOptions, PodPlan

PODS_TIMEOUT_S = 30.0
FOREIGN_PODS_TIMEOUT_S = 240.0
"""For pods that run a program which is not ours: a real engine loads a model first."""
SCRAPED_TIMEOUT_S = 30.0
SUBSCRIBED_TIMEOUT_S = 30.0
AT_WORK_TIMEOUT_S = 30.0
_ASK_TIMEOUT = aiohttp.ClientTimeout(total=2.0)
_LIVE = "live"
_AT_WORK = {
    "the observer's first audit": "(resync_gateways_audited == resync_gateways_selected) > 0",
    "the load's first answer": 'resync_load_completed_total{status="200"} > 0',
}
_RESTARTS_MAX = 1


@dataclass(frozen=True, slots=True)
class Missing:
    """What a wait still waits for; true when that is nothing."""

    names: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.names

    def __repr__(self) -> str:
        return f"still missing {', '.join(self.names)}"


class _Metadata(msgspec.Struct, frozen=True):
    name: str


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str


class _Ended(msgspec.Struct, frozen=True, rename="camel"):
    exit_code: int


class _LastState(msgspec.Struct, frozen=True):
    terminated: _Ended | None = None


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    restart_count: int = 0
    last_state: _LastState = _LastState()


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = "Pending"
    conditions: list[_Condition] | None = None
    container_statuses: list[_Container] | None = None


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    status: _Status = _Status()

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions or ())

    @property
    def restarts(self) -> int:
        return sum(container.restart_count for container in self.status.container_statuses or ())

    @property
    def exit_codes(self) -> str:
        """What its containers last ended with, 128 + n for a signal."""
        last = [container.last_state.terminated for container in self.status.container_statuses or ()]
        return ", ".join(str(ended.exit_code) for ended in last if ended is not None)


class _Series(msgspec.Struct, frozen=True):
    metric: dict[str, str]


class _Vector(msgspec.Struct, frozen=True):
    result: list[_Series] = []


class _QueryAnswer(msgspec.Struct, frozen=True):
    data: _Vector = _Vector()


class _Followed(msgspec.Struct, frozen=True):
    applied_seq: int
    state: str


class _Index(msgspec.Struct, frozen=True):
    pods: dict[str, _Followed]


async def pods_ready(kube: Kube, pods: Sequence[PodPlan], logs: Path) -> None:
    """Until every pod is Ready; what their processes said is in `logs`.

    Raises:
        LabStartError: a process ends again and again; with its last words.
        WaitTimeoutError, KubeError: a pod is not Ready in time, or nobody can say.
    """

    async def seen() -> Missing:
        items, _ = await kube.list(PODS, NAMESPACE)
        found = {pod.metadata.name: pod for pod in msgspec.convert(items, list[_Pod])}
        _refuse_crashing(found.values(), logs)
        return Missing(
            tuple(_unready(pod.name, found.get(pod.name)) for pod in pods if not _ready(found, pod))
        )

    foreign = any(pod.foreign_cmd for pod in pods)
    limit_s = FOREIGN_PODS_TIMEOUT_S if foreign else PODS_TIMEOUT_S
    await wait_until_async(seen, what="every pod to be Ready", timeout_s=limit_s, every_s=0.1)


def _refuse_crashing(pods: Iterable[_Pod], logs: Path) -> None:
    for pod in pods:
        if pod.restarts >= _RESTARTS_MAX and not pod.ready:
            said = children.last_line(logs / f"{NAMESPACE}_{pod.metadata.name}.log")
            raise LabStartError(
                f"pod {pod.metadata.name} ends as soon as it is started, with exit code {pod.exit_codes}; "
                f"its last words: {said}"
            )


def _ready(found: dict[str, _Pod], pod: PodPlan) -> bool:
    return pod.name in found and found[pod.name].ready


def _unready(name: str, pod: _Pod | None) -> str:
    return f"{name} ({pod.status.phase if pod else 'not created'})"


async def all_scraped(session: aiohttp.ClientSession, prometheus_url: str, pods: Sequence[PodPlan]) -> None:
    """Until Prometheus has seen every pod of ours answer. Raises WaitTimeoutError."""
    ours = [pod.name for pod in pods if pod.foreign_cmd is None]

    async def seen() -> Missing:
        up = await _up(session, prometheus_url)
        return Missing(tuple(name for name in ours if name not in up))

    await wait_until_async(
        seen, what="Prometheus to scrape every pod", timeout_s=SCRAPED_TIMEOUT_S, every_s=0.1
    )


async def at_work(session: aiohttp.ClientSession, prometheus_url: str, options: LabOptions) -> None:
    """Until what a run measures is being made: cuts by the observer, answered requests by the load.

    Raises WaitTimeoutError.
    """

    async def seen() -> Missing:
        return Missing(
            tuple([name for name, query in asked.items() if not await _ask(session, prometheus_url, query)])
        )

    asked = {name: _AT_WORK[name] for name in _who_works(options)}
    await wait_until_async(
        seen, what="observer and load to be at work", timeout_s=AT_WORK_TIMEOUT_S, every_s=0.1
    )


def _who_works(options: LabOptions) -> Iterator[str]:
    if options.index_view:
        yield "the observer's first audit"
    if options.load:
        yield "the load's first answer"


async def _up(session: aiohttp.ClientSession, prometheus_url: str) -> set[str]:
    return {one.metric.get("pod", "") for one in await _ask(session, prometheus_url, "up == 1")}


async def _ask(session: aiohttp.ClientSession, prometheus_url: str, query: str) -> list[_Series]:
    text = await _text(session, f"{prometheus_url}/api/v1/query?{urlencode({'query': query})}")
    return msgspec.json.decode(text, type=_QueryAnswer).data.result if text else []


async def subscribed(
    session: aiohttp.ClientSession, gateway: PodPlan, pods: Sequence[PodPlan], *, with_events: bool
) -> None:
    """Until the gateway follows every engine; `with_events`: and has applied a batch of each.

    Raises WaitTimeoutError.
    """

    async def seen() -> Missing:
        text = await _text(session, f"{gateway.url}/index")
        return not_followed(text, engines, with_events=with_events)

    engines = [f"{NAMESPACE}/{pod.name}" for pod in pods if pod.role is ENGINE]
    await wait_until_async(
        seen, what="the gateway to follow every engine", timeout_s=SUBSCRIBED_TIMEOUT_S, every_s=0.1
    )


def not_followed(index: bytes, engines: Sequence[str], *, with_events: bool) -> Missing:
    """The engines (pod keys) that an answer of GET /index does not show as followed; empty: none is."""
    pods = msgspec.json.decode(index, type=_Index).pods if index else {}
    return Missing(tuple(name for name in engines if not _follows(pods.get(name), with_events=with_events)))


def _follows(engine: _Followed | None, *, with_events: bool) -> bool:
    if engine is None or engine.state != _LIVE:
        return False
    return engine.applied_seq >= 0 or not with_events


async def _text(session: aiohttp.ClientSession, url: str) -> bytes:
    """The answer's body; empty while there is none."""
    try:
        async with session.get(url, timeout=_ASK_TIMEOUT) as answer:
            return await answer.read() if answer.status == HTTPStatus.OK else b""
    except (aiohttp.ClientError, TimeoutError):
        return b""
