"""What containers said, served as kubelet serves it: `GET /containerLogs/NAMESPACE/POD/CONTAINER`.

One file per pod holds every life of its container, one after the other; a `PodLog` remembers where the last
two begin. `tailLines`, `limitBytes`, `previous` and `follow` are understood (Kubernetes API, pod `log`
subresource). The lines carry no times, so what asks for times is refused.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from aiohttp import web

from resync.lab.node.errors import NoLogError

CHUNK_BYTES: Final = 64 * 1024
FOLLOW_S_MAX: Final = 3600.0
LOOK_EVERY_S: Final = 0.1
SHUTDOWN_TIMEOUT_S: Final = 0.1
_TIMED: Final = ("timestamps", "sinceSeconds", "sinceTime")


@dataclass(slots=True)
class PodLog:
    """One pod's file, and where in it the last two lives of its container begin."""

    path: Path
    running: bool = False
    _starts: deque[int] = field(default_factory=lambda: deque(maxlen=2))
    _lives: int = 0

    def begin(self, at: int | None = None) -> None:
        """A container is about to start: what is said from now on (from byte `at` on) is its own."""
        end = self.path.stat().st_size if self.path.exists() else 0
        self._starts.append(end if at is None else at)
        self._lives += 1
        self.running = True

    def finish(self) -> None:
        """It has ended."""
        self.running = False

    def life(self, *, previous: bool) -> "Life":
        """The present life, or the one before it. Raises NoLogError when there was none."""
        if len(self._starts) <= previous:
            raise NoLogError("previous terminated container" if previous else "container")
        return Life(self, self._lives - previous, self._starts[-2 if previous else -1])

    def end_of(self, number: int) -> int | None:
        """Where that life's words end; None while it is the last one."""
        if number == self._lives:
            return None
        return self._starts[-1] if number == self._lives - 1 else 0


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a container: its number and where in the file it begins."""

    log: PodLog
    number: int
    start: int

    @property
    def end(self) -> int:
        """Where it ends, as far as is known now."""
        end = self.log.end_of(self.number)
        return self.log.path.stat().st_size if end is None else end

    @property
    def goes_on(self) -> bool:
        """Whether more may come."""
        return self.log.running and self.log.end_of(self.number) is None


Finder = Callable[[str, str], PodLog]
"""The log of a pod, by namespace and name. Raises NoLogError."""


@asynccontextmanager
async def serving(host: str, find: Finder) -> AsyncIterator[int]:
    """Serve for as long as the `with` lasts; the port is any free one."""
    application = web.Application()
    application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", _Shelf(find).answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class _Shelf:
    find: Finder

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked, named = request.query, request.match_info
        if timed := next((word for word in _TIMED if asked.get(word, "false") != "false"), None):
            return _refused(f"{timed}: the lab's node writes no times into a log; leave it out")
        try:
            tail, limit = (int(asked.get(word, -1)) for word in ("tailLines", "limitBytes"))
            life = self.find(named["namespace"], named["pod"]).life(previous=asked.get("previous") == "true")
        except ValueError as error:
            return _refused(f"tailLines and limitBytes are whole numbers: {error}")
        except NoLogError as error:
            return _refused(f'{error} "{named["container"]}" in pod "{named["pod"]}" not found')
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in _told(life, tail, follow=asked.get("follow") == "true"):
            await response.write(chunk if limit < 0 else chunk[:limit])
            limit = max(limit - len(chunk), 0) if limit >= 0 else limit
            if limit == 0:
                break
        return response


def _refused(sentence: str) -> web.Response:
    return web.Response(text=sentence, status=400)


async def _told(life: Life, tail: int, *, follow: bool) -> AsyncIterator[bytes]:
    """What that life said, from its last `tail` lines on (all when negative), and what it goes on to say."""
    deadline_s = asyncio.get_running_loop().time() + FOLLOW_S_MAX
    with life.log.path.open("rb") as file:
        file.seek(life.start if tail < 0 else tail_start(file, life.start, life.end, tail))
        while True:
            goes_on = life.goes_on  # asked before reading: what is said until it ends is then read below
            for chunk in _chunks(file, life.end):
                yield chunk
            if not (follow and goes_on) or asyncio.get_running_loop().time() > deadline_s:
                return
            await asyncio.sleep(LOOK_EVERY_S)


def _chunks(file: BinaryIO, end: int) -> Iterator[bytes]:
    while chunk := file.read(max(0, min(CHUNK_BYTES, end - file.tell()))):
        yield chunk


def tail_start(file: BinaryIO, start: int, end: int, lines: int) -> int:
    """Where the last `lines` lines between `start` and `end` begin; an unfinished last line is one."""
    at, missing = end, lines + 1
    while at > start:
        size = min(CHUNK_BYTES, at - start)
        file.seek(at - size)
        chunk = file.read(size)
        if at == end and not chunk.endswith(b"\n"):
            missing -= 1
        found = chunk.count(b"\n")
        if found >= missing:
            place = len(chunk)
            for _ in range(missing):
                place = chunk.rindex(b"\n", 0, place)
            return at - size + place + 1
        missing -= found
        at -= size
    return start
