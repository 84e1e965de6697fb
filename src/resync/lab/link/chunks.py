"""What travels through the link: bytes with the time they came in, and the two ways a stream ends."""

import enum
from dataclasses import dataclass


class End(enum.Enum):
    """How one direction of a connection ends; it travels behind the bytes before it, as a packet would."""

    EOF = "eof"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one stream and when it may leave.

    `release_s` is monotonic, infinite means "held until the rules change".
    """

    payload: bytes | End
    arrival_s: float
    release_s: float

    @property
    def size(self) -> int:
        """Bytes this chunk keeps in the buffer; an end has none."""
        return len(self.payload) if isinstance(self.payload, bytes) else 0
