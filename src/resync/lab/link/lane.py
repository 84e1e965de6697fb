"""One direction of one connection, without the connection: chunks go in and come out in the same order.

The law of the link is here and nowhere else. A chunk leaves at

    max(release of the chunk before it, what the effects make of its own arrival)

so TCP's order holds whatever the jitter draws. Rules may change while chunks wait: a fault that goes says
when what waits may leave now, and what it lets go earlier than before meets the faults that are left or
new; a held chunk (infinite) meets them in any case. A fault that stays keeps its memory. Nothing is dropped
here.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from random import Random

from resync.lab.link.chunks import Chunk, End
from resync.lab.link.faults import Effect, Fault


class Lane:
    """A first-in first-out queue whose chunks carry their own release times."""

    __slots__ = ("_chunks", "_dice", "_effects", "_faults", "_last_release_s", "queued_bytes")

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._chunks: deque[Chunk] = deque()
        self._faults: tuple[Fault, ...] = ()
        self._effects: tuple[Effect, ...] = ()
        self._last_release_s = -inf
        self.queued_bytes = 0

    @property
    def clear(self) -> bool:
        """Nothing waits and nothing would make a new chunk wait: data may pass untouched."""
        return not self._chunks and not self._effects

    @property
    def next_release_s(self) -> float:
        """When the first chunk may leave; infinite when none waits or the first is held."""
        return self._chunks[0].release_s if self._chunks else inf

    def __len__(self) -> int:
        return len(self._chunks)

    def set_faults(self, faults: Sequence[Fault], now_s: float) -> None:
        """From now on these faults apply.

        The same faults again change nothing, so a re-sent rule does not redraw.
        """
        if tuple(faults) == self._faults:
            return
        effects, gone = self._matched(faults)
        self._faults, self._effects = tuple(faults), effects
        self._last_release_s = -inf
        self._chunks = deque(self._again(chunk, gone, now_s) for chunk in self._chunks)

    def push(self, payload: bytes | End, now_s: float) -> None:
        """Put a payload that came in at `now_s` at the end."""
        chunk = self._placed(self._shaped(Chunk(payload, arrival_s=now_s, release_s=now_s)))
        self._chunks.append(chunk)
        self.queued_bytes += chunk.size

    def pop_due(self, now_s: float) -> bytes | End | None:
        """The first payload if its time has come, else None."""
        if not self._chunks or self._chunks[0].release_s > now_s:
            return None
        chunk = self._chunks.popleft()
        self.queued_bytes -= chunk.size
        return chunk.payload

    def drop_all(self) -> None:
        """Forget everything: the connection is gone."""
        self._chunks.clear()
        self.queued_bytes = 0

    def transit_s(self, now_s: float) -> float:
        """How long a packet sent now would take: what a handshake pays for one way."""
        return max(self._shaped(Chunk(b"", now_s, now_s)).release_s - now_s, 0.0)

    def _matched(self, faults: Sequence[Fault]) -> tuple[tuple[Effect, ...], tuple[Effect, ...]]:
        """The effect of each fault, the present one where it is there already; and those that go."""
        present = list(zip(self._faults, self._effects, strict=True))
        effects = []
        for fault in faults:
            known = next((index for index, (old, _) in enumerate(present) if old == fault), None)
            effects.append(fault.begin(self._dice) if known is None else present.pop(known)[1])
        return tuple(effects), tuple(effect for _, effect in present)

    def _placed(self, chunk: Chunk) -> Chunk:
        """The chunk behind the one before it."""
        release_s = max(chunk.release_s, self._last_release_s)
        self._last_release_s = release_s
        return replace(chunk, release_s=release_s)

    def _shaped(self, chunk: Chunk) -> Chunk:
        for effect in self._effects:
            if chunk.release_s == inf:
                break
            chunk = effect.apply(chunk)
        return chunk

    def _again(self, chunk: Chunk, gone: Sequence[Effect], now_s: float) -> Chunk:
        """The chunk under new rules. One on the wire stays there."""
        release_s = min((effect.lift(chunk, now_s) for effect in gone), default=chunk.release_s)
        on_the_wire = release_s == chunk.release_s and chunk.arrival_s < release_s < inf
        freed = chunk if on_the_wire else self._shaped(replace(chunk, release_s=release_s))
        return self._placed(freed)
