"""What the command line and the supervisor say to each other: one order, one answer."""

from pathlib import Path

import msgspec

from resync.lab.manifests import LabOptions
from resync.lab.state import LabState


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Bring up a lab. `owner_pid` is the process it must not outlive; None: nobody, it ends when told."""

    directory: str
    options: LabOptions = LabOptions()
    owner_pid: int | None = None

    @property
    def path(self) -> Path:
        """The state directory."""
        return Path(self.directory)


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Everything runs."""

    state: LabState


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Nothing runs; `sentence` says why."""

    sentence: str


Answer = Ready | Failed


def encoded(message: Order | Answer) -> bytes:
    """One line."""
    return msgspec.json.encode(message) + b"\n"


def decoded_order(text: str) -> Order:
    """An order as `encoded` wrote it."""
    return msgspec.json.decode(text, type=Order)


def decoded_answer(line: bytes) -> Answer:
    """An answer as `encoded` wrote it."""
    answer: Answer = msgspec.json.decode(line, type=Answer)
    return answer
