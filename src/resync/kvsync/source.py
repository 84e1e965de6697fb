"""Whom to subscribe to: one publisher, which is an engine process or one of its data-parallel ranks."""

from typing import Final

import msgspec

from resync.kvsync.handlers import NO_LORA

EVENT_PORT: Final = 5557
REPLAY_PORT: Final = 5558


class Source(msgspec.Struct, frozen=True):
    """One publisher to subscribe to; `lora_id` is the adapter that the whole pod serves.

    `rank` is None where the pod has one rank only, and needs no telling which.

    Another `uid` is another source, even at the same address, and so is another number of `restarts`: a new
    process holds nothing of the old one's, and need not say a word before its first request.
    """

    pod_key: str
    host: str
    event_port: int = EVENT_PORT
    replay_port: int = REPLAY_PORT
    uid: str = ""
    model: str = ""
    restarts: int = 0
    lora_id: int = NO_LORA
    rank: int | None = None

    @property
    def pod_name(self) -> str:
        """The name of its pod, whichever rank it is."""
        return self.pod_key.removesuffix(f"#dp{self.rank}").rpartition("/")[2]
