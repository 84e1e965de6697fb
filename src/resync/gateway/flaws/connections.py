"""A subscription that gives up its connection over a batch it cannot read, and then reads it again."""

import asyncio
from collections.abc import Callable

import msgspec

from resync.kvsync import wire
from resync.kvsync.effects import Effect
from resync.kvsync.errors import WireError
from resync.kvsync.limits import SubscriberSettings
from resync.kvsync.records import Message
from resync.kvsync.source import Source
from resync.kvsync.subscriber import Subscriber
from resync.transport.subscription import Handler, Subscription, TransportSettings

Refuses = Callable[[bytes], bool]
"""Whether a payload cannot be read."""


class Refusing(Subscriber):
    """Takes no message that cannot be read; `refused` says that one came."""

    def __init__(self, settings: SubscriberSettings, refuses: Refuses) -> None:
        super().__init__(settings)
        self._refuses = refuses
        self.refused = False

    def live(self, message: Message, now_s: float) -> tuple[Effect, ...]:
        """Nothing, if it cannot be read, nor anything behind it."""
        self.refused = self.refused or self._refuses(message.payload)
        return () if self.refused else super().live(message, now_s)

    def replayed(self, message: Message, now_s: float) -> tuple[Effect, ...]:
        """The same for an answer."""
        self.refused = self.refused or self._refuses(message.payload)
        return () if self.refused else super().replayed(message, now_s)


class Resetting(Subscription):
    """Hangs up after a batch that cannot be read, and dials again."""

    def __init__(
        self, refuses: Refuses, source: Source, handler: Handler, settings: TransportSettings
    ) -> None:
        self._refusing = Refusing(settings.subscriber, refuses)
        super().__init__(source, handler, settings, subscriber=self._refusing)

    def _turn(self) -> bool:
        more = super()._turn()
        if self._refusing.refused:
            self._refusing.refused = False
            if self._live is not None:
                self._end_connection(asyncio.get_running_loop().time(), was_up=self._live.up)
            self._drop_replay()
            self._set_alarm()
        return more


def says_something_unknown(payload: bytes) -> bool:
    """An event of an unknown type, or one that is malformed."""
    try:
        batch = wire.decode_batch(payload)
    except WireError:
        return True
    return bool(batch.unknown_events)


def says_it_in_maps(payload: bytes) -> bool:
    """Events as vLLM encodes them since #42892."""
    batch = msgspec.msgpack.decode(payload)
    return isinstance(batch, dict) or any(isinstance(event, dict) for event in batch[1])
