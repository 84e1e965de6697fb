"""What a subscriber wants done, as records: its whole influence on the world."""

from typing import TypeAlias

import msgspec

from resync.kvsync.records import Batch


class Apply(msgspec.Struct, frozen=True, gc=False):
    """Apply this batch now. `live` is False when it came by replay or was held back for one."""

    seq: int
    batch: Batch
    live: bool


class AskReplay(msgspec.Struct, frozen=True, gc=False):
    """Ask the publisher for everything from `start_seq` on; the answer to any earlier request is void."""

    start_seq: int


class Purge(msgspec.Struct, frozen=True, gc=False):
    """Forget everything about this source before what follows."""

    reason: str


class Degrade(msgspec.Struct, frozen=True, gc=False):
    """From here on the index may lack what this source holds, until it is exact again."""

    reason: str


Effect: TypeAlias = Apply | AskReplay | Purge | Degrade
