"""HTTP to gateways and engines: one question, one typed answer, or a CutError that says which side failed."""

from http import HTTPStatus
from typing import TypeVar

import aiohttp
import msgspec

from resync.observer.errors import CutError, Reason
from resync.observer.records import IndexView, Truth

Answer = TypeVar("Answer")

_INDEX = msgspec.json.Decoder(IndexView)
_TRUTH = msgspec.json.Decoder(Truth)


class TruthAheadError(CutError):
    """The engine has not published the batch it was asked about: another life of it has, or nobody."""


class Asker:
    """Asks over one session whose connections are kept open and come from the pod's own address."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def index(self, base_url: str) -> IndexView:
        """The index view of one gateway. Raises CutError."""
        status, body = await self._get(base_url + "/index", Reason.GATEWAY_UNREACHABLE)
        if status == HTTPStatus.NOT_FOUND:
            raise CutError(
                Reason.GATEWAY_NO_INDEX_VIEW, f"{base_url} has no index view: it cannot be audited"
            )
        if status != HTTPStatus.OK:
            raise CutError(Reason.GATEWAY_UNREADABLE, f"{base_url}/index answered {status}")
        return _decode(_INDEX, body, Reason.GATEWAY_UNREADABLE, base_url + "/index")

    async def truth(self, base_url: str, seq: int | None) -> Truth:
        """What the engine held when batch `seq` had been published (None: now). Raises CutError."""
        url = base_url + ("/truth" if seq is None else f"/truth?seq={seq}")
        status, body = await self._get(url, Reason.TRUTH_UNREACHABLE)
        if status == HTTPStatus.GONE:
            raise CutError(Reason.TRUTH_TOO_OLD, f"{url}: the engine no longer remembers that batch")
        if status == HTTPStatus.CONFLICT:
            raise TruthAheadError(Reason.TRUTH_AHEAD, f"{url}: the engine has not published that batch")
        if status != HTTPStatus.OK:
            raise CutError(Reason.TRUTH_UNREADABLE, f"{url} answered {status}")
        return _decode(_TRUTH, body, Reason.TRUTH_UNREADABLE, url)

    async def _get(self, url: str, unreachable: Reason) -> tuple[int, bytes]:
        try:
            async with self._session.get(url) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as reason:
            raise CutError(
                unreachable, f"{url} does not answer: {type(reason).__name__} {reason}"
            ) from reason


def _decode(decoder: msgspec.json.Decoder[Answer], body: bytes, unreadable: Reason, url: str) -> Answer:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as reason:
        raise CutError(unreadable, f"{url} answered something else than agreed: {reason}") from reason
