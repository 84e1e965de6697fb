"""Deliberate defects of an engine's publisher, for tests that must see a defect found. Off unless asked for.

They act between what the pool says happened and what is published, so truth stays true. `NAME[:AFTER]` on the
command line; the defect sets in once AFTER batches have been published.

* `drop-event`: one event, the next that stores exactly one block, is left out of its batch; nothing else is
  touched.
* `silent`: batches are no longer numbered or sent, as after the death of vLLM's publisher thread.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from resync.engine.errors import OptionsError
from resync.engine.pool import Happening, Stored


class FlawKind(StrEnum):
    """What is wrong."""

    NONE = "none"
    DROP_EVENT = "drop-event"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong, and after how many published batches it begins."""

    kind: FlawKind
    after: int = 0


NO_FLAW = Flaw(FlawKind.NONE)


def parse(text: str) -> Flaw:
    """The flaw written as `NAME[:AFTER]`. Raises OptionsError with a sentence."""
    name, _, after = text.partition(":")
    try:
        return Flaw(FlawKind(name), int(after or 0))
    except ValueError as error:
        known = ", ".join(FlawKind)
        raise OptionsError(f"--flaw: {text!r} is not NAME[:AFTER] with NAME one of {known}") from error


class Distortion:
    """Applies one flaw to a stream of happenings; without a flaw it changes nothing."""

    def __init__(self, flaw: Flaw) -> None:
        self._flaw = flaw
        self._dropped = False

    def silences(self, published: int) -> bool:
        """Whether a batch is to be swallowed, `published` having gone out."""
        return self._flaw.kind is FlawKind.SILENT and published >= self._flaw.after

    def applied(self, happenings: Iterable[Happening], published: int) -> list[Happening]:
        """The happenings that are published, `published` batches having gone out before."""
        told = list(happenings)
        if self._flaw.kind is not FlawKind.DROP_EVENT or self._dropped or published < self._flaw.after:
            return told
        single = next((h for h in told if isinstance(h, Stored) and len(h.blocks) == 1), None)
        if single is not None:
            told.remove(single)
            self._dropped = True
        return told
