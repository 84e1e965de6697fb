"""Following one publisher's stream without losing, repeating or inventing a batch. No sockets, no clock.

The problem. A stream of numbered batches arrives over a link that can lose, delay, repeat and cut; the
publisher can restart and begin again at 0 without saying so; it keeps only its last batches for replay, and a
replay's end marker does not mean that the replay was complete. Whoever applies the batches must know, at
every moment, whether what it has is exact.

The naive answer, "replay from last+1 when a number is skipped", fails three ways (each seen in the field): a
replay that begins too late or has holes is taken for complete; live batches that arrive meanwhile are applied
twice or out of order; and after a restart "last+1" is answered by the new life with batches that continue
nothing.

Ours. Every batch is applied in the order of its number, once. While a replay is in, live batches are *held
back*. A replay is asked for from the last applied number, not from the one after it: the publisher then has
to send a batch that we know, and its fingerprint proves that this is still the same life (different:
restarted, start over from nothing). Complete means contiguous up to the highest number seen, whatever the end
marker says. After a connect one complete answer is not enough, for it can be older than the subscription; a
second one settles it. What stays incomplete after a limited number of tries is given up visibly: the index is
purged, the source is *degraded*, and where that can help it is tried again later, without touching the index
until an answer begins at 0. A source
degraded that way can lack blocks, it never has blocks that are not there. One batch that cannot be read
degrades too, but leaves the index as it is: wrong in what that batch said, right in the rest.

States: CONNECTING (no connection; live batches are ignored, a replay will bring them) - REPLAYING
(connected, catching up) - LIVE - GAP (a number was skipped, replay asked for) - RESYNCING (starting over
from nothing). Degraded is not a state but the outcome `exact=False` in LIVE. The machine itself is
`transitions.TRANSITIONS`.

Left out: data-parallel ranks are sources of their own (port + rank); tail loss without a later batch shows
only at the next connect, because the stream has no heartbeat.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from resync.kvsync import wire
from resync.kvsync.effects import Apply, AskReplay, Degrade, Effect, Purge
from resync.kvsync.errors import WireError
from resync.kvsync.records import AllBlocksCleared, Batch, Message
from resync.kvsync.transitions import TRANSITIONS, Action, Input, State

__all__ = [
    "Apply",
    "AskReplay",
    "Degrade",
    "Effect",
    "Purge",
    "State",
    "Statistics",
    "Subscriber",
    "SubscriberSettings",
]

NOTHING: Final = -1
"""The applied number before the first batch."""

JOINING_ANSWERS_MIN: Final = 2
"""Complete answers wanted after a connect: the first can have left before the subscription took effect."""

_AWAITING: Final = frozenset({State.REPLAYING, State.GAP, State.RESYNCING})


class SubscriberSettings(msgspec.Struct, frozen=True):
    """Limits. `held_limit` and `fingerprint_limit` are in batches; vLLM's ring is 10,000 long."""

    held_limit: int = 20_000
    fingerprint_limit: int = 4_096
    tries_limit: int = 3
    retry_min_s: float = 30.0
    retry_max_s: float = 600.0


class Statistics(msgspec.Struct, frozen=True):
    """Where a subscriber stands and what it has seen so far. Counts are of batches unless they say otherwise.

    `gaps`: skips seen in the live stream; `missed`: numbers in them; `gaps_repaired`: closed by a complete
    replay, or by a purge that was reported. `held_back`: waiting now; `held_dropped`: refused by the limit (a
    replay brings them).
    """

    state: State
    applied_seq: int
    exact: bool
    gaps: int = 0
    gaps_repaired: int = 0
    missed: int = 0
    replays_asked: int = 0
    replays_succeeded: int = 0
    replays_failed: int = 0
    replayed: int = 0
    duplicates: int = 0
    restarts: int = 0
    purges: int = 0
    degradations: int = 0
    decode_errors: int = 0
    malformed_events: int = 0
    unknown_events: int = 0
    held_back: int = 0
    held_dropped: int = 0
    degraded_reason: str | None = None


class _Counts:
    """The growing part of `Statistics`."""

    __slots__ = tuple(
        name
        for name in Statistics.__struct_fields__
        if name not in {"state", "applied_seq", "exact", "held_back", "degraded_reason"}
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    def as_fields(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


class _Relation(StrEnum):
    """Where a message stands to what has been applied."""

    NEXT = "next"
    AHEAD = "ahead"
    KNOWN = "known"
    RESTARTED = "restarted"


_LIVE_INPUT_OF: Final = {one: Input[f"LIVE_{one.name}"] for one in _Relation}
_REPLAY_INPUT_OF: Final = {one: Input[f"REPLAY_{one.name}"] for one in _Relation}
DEFAULTS: Final = SubscriberSettings()


class Subscriber:
    """One source's state machine: feed it what happens, do what it returns, in order.

    Times are seconds of any clock that only grows. `retry_at_s` is when `tick` has something to do.
    """

    def __init__(self, settings: SubscriberSettings = DEFAULTS) -> None:
        self._settings = settings
        self._state = State.CONNECTING
        self._now_s = 0.0
        self._effects: list[Effect] = []
        self._counts: Any = _Counts()
        # What has been applied, and what is known beyond it.
        self._applied = NOTHING
        self._highest_seen = NOTHING
        self._fingerprints: dict[int, int] = {}
        self._held: dict[int, Message] = {}
        # The request under way.
        self._same_life = True
        self._tries = 0
        self._applied_when_asked = NOTHING
        self._first_answered: int | None = None
        self._brought_news = False
        self._joining = False
        self._joining_answers = 0
        self._gap_open = False
        # Exactness.
        self._base_exact = True
        self._degraded_reason: str | None = None
        self._retrying = False
        self._retry_helps = True
        self._retry_delay_s = settings.retry_min_s
        self.retry_at_s: float | None = None
        self._do = self._actions()

    def _actions(self) -> Mapping[Action, Callable[[Message | None], None]]:
        return {
            Action.IGNORE: lambda _message: None,
            Action.APPLY: self._apply_live,
            Action.HOLD: self._hold,
            Action.COUNT_DUPLICATE: self._count_duplicate,
            Action.ASK: self._ask,
            Action.OPEN_GAP: self._open_gap,
            Action.FORGET: self._forget,
            Action.CONFIRM: self._confirm,
            Action.APPLY_REPLAYED: self._apply_replayed,
            Action.RESTART: self._restart,
            Action.CATCH_UP: self._catch_up,
            Action.GIVE_UP: self._give_up,
            Action.RETRY: self._retry,
            Action.START_OVER: self._start_over,
        }

    # --- inputs

    def connected(self, now_s: float) -> tuple[Effect, ...]:
        """The connection is up (again). Saying so twice only asks twice."""
        self._tries = 0
        self._joining = True
        self._joining_answers = 0
        return self._take(Input.CONNECTED, now_s)

    def disconnected(self, now_s: float) -> tuple[Effect, ...]:
        """The connection is gone; whatever was held back may be of a life that ended with it."""
        return self._take(Input.DISCONNECTED, now_s)

    def live(self, message: Message, now_s: float) -> tuple[Effect, ...]:
        """A live message arrived."""
        return self._take(_LIVE_INPUT_OF[self._relation(message)], now_s, message)

    def replayed(self, message: Message, now_s: float) -> tuple[Effect, ...]:
        """A message of the answer to the latest request arrived."""
        if self._first_answered is None:
            self._first_answered = message.seq
        if self._retrying and message.seq == 0:
            return self._take(Input.RETRY_ANSWERED, now_s, message)
        relation = self._relation(message)
        if relation is _Relation.NEXT and not self._same_life:
            relation = _Relation.AHEAD
        self._brought_news |= message.seq > self._applied and message.seq not in self._held
        return self._take(_REPLAY_INPUT_OF[relation], now_s, message)

    def replay_ended(self, now_s: float) -> tuple[Effect, ...]:
        """The end marker of the answer to the latest request arrived."""
        return self._judge_answer(now_s, ended=True)

    def replay_timed_out(self, now_s: float) -> tuple[Effect, ...]:
        """The latest request was not answered to its end in time."""
        return self._judge_answer(now_s, ended=False)

    def tick(self, now_s: float) -> tuple[Effect, ...]:
        """Time has passed."""
        if self.retry_at_s is None or now_s < self.retry_at_s:
            return ()
        self.retry_at_s = None
        return self._take(Input.RETRY_DUE, now_s)

    # --- what can be asked

    @property
    def state(self) -> State:
        """Where it is."""
        return self._state

    @property
    def applied_seq(self) -> int:
        """The last number applied, -1 before the first."""
        return self._applied

    @property
    def exact(self) -> bool:
        """Whether everything up to `applied_seq` is applied and nothing is known to be missing."""
        return self._base_exact and self._state is State.LIVE

    @property
    def awaits_answer(self) -> bool:
        """Whether the answer to the latest request still matters."""
        return self._state in _AWAITING or (self._retrying and self._state is State.LIVE)

    def statistics(self) -> Statistics:
        """All of it, at this moment."""
        return Statistics(
            state=self._state,
            applied_seq=self._applied,
            exact=self.exact,
            held_back=len(self._held),
            degraded_reason=self._degraded_reason,
            **self._counts.as_fields(),
        )

    # --- the machine

    def _take(self, what: Input, now_s: float, message: Message | None = None) -> tuple[Effect, ...]:
        self._now_s = now_s
        action, self._state = TRANSITIONS[self._state][what]
        self._do[action](message)
        effects, self._effects = tuple(self._effects), []
        return effects

    def _relation(self, message: Message) -> _Relation:
        """Where the message stands: the same number with other content can only be another life."""
        held = self._held.get(message.seq)
        if held is not None and held.payload != message.payload:
            return _Relation.RESTARTED
        if message.seq > self._applied:
            return _Relation.NEXT if message.seq == self._applied + 1 else _Relation.AHEAD
        known = self._fingerprints.get(message.seq) == hash(message.payload)
        return _Relation.KNOWN if known else _Relation.RESTARTED

    def _judge_answer(self, now_s: float, *, ended: bool) -> tuple[Effect, ...]:
        if not self.awaits_answer:
            return ()
        if self._state is State.LIVE:
            self._retry_failed(now_s)
            return ()
        complete = ended and self._same_life and self._reach() >= self._highest_seen
        if complete:
            self._counts.replays_succeeded += 1
            return self._take(self._judge_complete(), now_s)
        self._counts.replays_failed += 1
        return self._take(self._judge_incomplete(ended=ended), now_s)

    def _judge_complete(self) -> Input:
        if not self._joining:
            return Input.ANSWER_COMPLETE
        self._joining_answers += 1
        settled = self._joining_answers >= JOINING_ANSWERS_MIN and not self._brought_news
        if settled or self._joining_answers >= self._settings.tries_limit:
            return Input.ANSWER_COMPLETE
        return Input.ANSWER_UNCONFIRMED

    def _judge_incomplete(self, *, ended: bool) -> Input:
        if self._applied > self._applied_when_asked:
            self._tries = 0  # it brought something: a long replay over a full pipe comes in pieces
        self._tries += 1
        if self._tries < self._settings.tries_limit:
            return Input.ANSWER_INCOMPLETE
        empty = ended and self._first_answered is None and self._applied != NOTHING
        return Input.ANSWER_EMPTY if empty else Input.ANSWER_EXHAUSTED

    def _reach(self) -> int:
        """The last number up to which nothing is missing, counting what is held back."""
        reach = self._applied
        while reach + 1 in self._held:
            reach += 1
        return reach

    # --- actions: applying and holding back

    def _apply_live(self, message: Message | None) -> None:
        self._apply(_present(message), live=True)

    def _apply_replayed(self, message: Message | None) -> None:
        replayed = _present(message)
        self._held.pop(replayed.seq, None)
        self._counts.replayed += 1
        self._apply(replayed, live=False)

    def _apply(self, message: Message, *, live: bool) -> None:
        if message.seq == 0:
            self._become_exact()
        self._applied = message.seq
        self._highest_seen = max(self._highest_seen, message.seq)
        self._fingerprints[message.seq] = hash(message.payload)
        self._fingerprints.pop(message.seq - self._settings.fingerprint_limit, None)
        try:
            batch = wire.decode_batch(message.payload)
        except WireError as error:
            self._counts.decode_errors += 1
            self._degrade(f"batch {message.seq} cannot be read: {error}")
            return
        self._effects.append(Apply(message.seq, batch, live))
        self._note_content(message.seq, batch)

    def _note_content(self, seq: int, batch: Batch) -> None:
        if not self._base_exact and any(isinstance(event, AllBlocksCleared) for event in batch.events):
            self._become_exact()
        self._counts.unknown_events += len(batch.unknown_events)
        if batch.malformed:
            self._counts.malformed_events += batch.malformed
            self._degrade(f"batch {seq} has events that cannot be read: {batch.unknown_events[0]}")

    def _hold(self, message: Message | None) -> None:
        held = _present(message)
        self._highest_seen = max(self._highest_seen, held.seq)
        if len(self._held) < self._settings.held_limit:
            self._held[held.seq] = held
        else:
            self._counts.held_dropped += 1

    def _count_duplicate(self, _message: Message | None) -> None:
        self._counts.duplicates += 1

    def _forget(self, _message: Message | None) -> None:
        self._held.clear()
        self._highest_seen = self._applied
        self._retrying = False

    def _catch_up(self, _message: Message | None) -> None:
        """Apply what was held back: after a complete answer nothing is missing between."""
        for seq in sorted(self._held):
            message = self._held.pop(seq)
            if seq > self._applied:
                self._apply(message, live=False)
        self._counts.gaps_repaired += self._gap_open
        self._gap_open = False
        self._joining = False
        if self._base_exact:
            self._retry_delay_s = self._settings.retry_min_s
        else:
            self._schedule_retry()

    # --- actions: asking

    def _ask(self, _message: Message | None) -> None:
        self._retrying = False
        self._ask_from(max(self._applied, 0))
        self._same_life = self._applied == NOTHING

    def _ask_from(self, start_seq: int) -> None:
        self._applied_when_asked = self._applied
        self._first_answered = None
        self._brought_news = False
        self._counts.replays_asked += 1
        self._effects.append(AskReplay(start_seq))

    def _confirm(self, _message: Message | None) -> None:
        self._same_life = True

    def _open_gap(self, message: Message | None) -> None:
        ahead = _present(message)
        self._gap_open = True
        self._counts.gaps += 1
        self._counts.missed += ahead.seq - self._applied - 1
        self._tries = 0
        self._hold(ahead)
        self._ask(None)

    def _restart(self, message: Message | None) -> None:
        """Another life: nothing known holds.

        The batch that gave it away, if any, is the first of the new one.
        """
        self._counts.restarts += 1
        gave_away = "its stream is shorter" if message is None else f"batch {message.seq} is another one"
        self._purge(f"the publisher restarted: {gave_away}")
        self._begin_anew()
        if message is not None:
            self._hold(message)
        self._ask(None)

    def _begin_anew(self) -> None:
        self._applied = NOTHING
        self._highest_seen = NOTHING
        self._fingerprints.clear()
        self._held.clear()
        self._tries = 0
        self._become_exact()

    # --- actions: giving up, and trying again

    def _give_up(self, _message: Message | None) -> None:
        reason = self._why_incomplete()
        self._retry_helps = self._first_answered is None or self._first_answered <= self._applied + 1
        self._purge(reason)
        self._base_exact = False
        if not self._same_life:  # our numbers may be those of a life that is over
            self._applied = NOTHING
            self._fingerprints.clear()
        self._keep_last_run()
        self._catch_up(None)
        self._highest_seen = self._applied  # what the limit refused shows as a gap with the next batch
        self._degrade(reason)

    def _keep_last_run(self) -> None:
        """Of what is held back, keep what has no hole behind it.

        A hole could hide a removal, and leave a phantom.
        """
        newest = max(self._held, default=NOTHING)
        first = newest
        while first - 1 in self._held:
            first -= 1
        self._held = {seq: message for seq, message in self._held.items() if seq >= first}

    def _why_incomplete(self) -> str:
        wanted, first = self._applied + 1, self._first_answered
        if first is None:
            return f"no answer to {self._tries} requests for batches from {wanted} on"
        if first > wanted:
            return f"batches {wanted} to {first - 1} are no longer in the publisher's ring"
        return f"batches from {wanted} on came incomplete {self._tries} times"

    def _retry(self, _message: Message | None) -> None:
        self._retrying = True
        self._ask_from(0)

    def _retry_failed(self, now_s: float) -> None:
        self._now_s = now_s
        self._retrying = False
        self._counts.replays_failed += 1
        self._retry_helps = self._first_answered is None
        self._schedule_retry()

    def _schedule_retry(self) -> None:
        """Later, and ever later; never when the ring has lost the beginning.

        Only a new life can help then.
        """
        if self._retry_helps:
            self.retry_at_s = self._now_s + self._retry_delay_s
            self._retry_delay_s = min(self._retry_delay_s * 2, self._settings.retry_max_s)

    def _start_over(self, message: Message | None) -> None:
        """The retry is answered from 0: now the index may be rebuilt.

        All numbers seen so far must come again.
        """
        highest_seen = self._highest_seen
        self._retrying = False
        self._purge("a degraded source is replayed from its beginning")
        self._begin_anew()
        self._highest_seen = highest_seen
        self._same_life = True
        self._applied_when_asked = NOTHING
        self._apply_replayed(message)

    # --- exactness

    def _purge(self, reason: str) -> None:
        self._counts.purges += 1
        self._effects.append(Purge(reason))

    def _become_exact(self) -> None:
        self._base_exact = True
        self._retry_helps = True
        self._degraded_reason = None
        self.retry_at_s = None

    def _degrade(self, reason: str) -> None:
        self._base_exact = False
        self._degraded_reason = reason
        self._counts.degradations += 1
        self._effects.append(Degrade(reason))
        if self._state is State.LIVE and self.retry_at_s is None:
            self._schedule_retry()


def _present(message: Message | None) -> Message:
    assert message is not None, "this transition carries a message. This is a bug."
    return message
