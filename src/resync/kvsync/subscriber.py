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
restarted, start over from nothing). Complete means contiguous up to the highest number known, whatever the
end marker says. After a connect one complete answer is not enough, for it can be older than the subscription;
a second one settles it. What stays incomplete after a limited number of tries is given up visibly: the index
is purged, the source is *degraded*, and where that can help it is tried again later, without touching the
index until an answer begins at 0. A source degraded that way can lack blocks, it never has blocks that are
not there. One batch that cannot be read degrades too, but leaves the index as it is: wrong in what that batch
said, right in the rest.

States: CONNECTING (no connection; live batches are ignored, a replay will bring them) - REPLAYING
(connected, catching up) - LIVE - GAP (a number was skipped, replay asked for) - RESYNCING (starting over
from nothing). Degraded is not a state but the outcome `exact=False` in LIVE.

Where to read what: `transitions` is the whole machine as one table; this module only looks at what happened,
finds its row and does its action. `ledger` knows the numbers, `inquiry` judges answers, `exactness` says
EXACT or DEGRADED, `tail` finds what no later batch would show, `effects` is what comes out.

Left out: data-parallel ranks, each of which is a publisher and gets a subscriber of its own (`fleet`,
`ranks`); and two lives over one connection, which only something that dials again in between can make of it:
those show by a number that comes twice, and not before.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from resync.kvsync import wire
from resync.kvsync.effects import Apply, AskReplay, Degrade, Effect, Purge
from resync.kvsync.errors import WireError
from resync.kvsync.exactness import Exactness
from resync.kvsync.inquiry import Inquiry
from resync.kvsync.ledger import NOTHING, Ledger, Relation
from resync.kvsync.limits import DEFAULTS, SubscriberSettings
from resync.kvsync.records import AllBlocksCleared, Batch, Message
from resync.kvsync.standing import Statistics
from resync.kvsync.tail import Tail
from resync.kvsync.transitions import AWAITING, TRANSITIONS, Action, Input, State, Table

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

_LIVE_INPUT_OF: Final = {one: Input[f"LIVE_{one.name}"] for one in Relation}
_REPLAY_INPUT_OF: Final = {one: Input[f"REPLAY_{one.name}"] for one in Relation}


class Subscriber:
    """One source's state machine: feed it what happens, do what it returns, in order.

    Times are seconds of any clock that only grows. Another `table` makes another machine.
    """

    def __init__(self, settings: SubscriberSettings = DEFAULTS, table: Table = TRANSITIONS) -> None:
        self._table = table
        self._state = State.CONNECTING
        self._now_s = 0.0
        self._effects: list[Effect] = []
        self._counts: Counter[str] = Counter()
        self._ledger = Ledger(held_limit=settings.held_limit, fingerprint_limit=settings.fingerprint_limit)
        self._inquiry = Inquiry(settings.tries_limit)
        self._exactness = Exactness(retry_min_s=settings.retry_min_s, retry_max_s=settings.retry_max_s)
        self._tail = Tail(settings.tail_patience_s)
        self._retrying = False
        self._gap_open = False
        self._do = self._actions()

    def _actions(self) -> Mapping[Action, Callable[[Message | None], None]]:
        return {
            Action.IGNORE: lambda _message: None,
            Action.APPLY: self._apply_live,
            Action.HOLD: self._hold,
            Action.COUNT_DUPLICATE: self._count_duplicate,
            Action.ASK: self._ask,
            Action.OPEN_GAP: self._open_gap,
            Action.OPEN_TAIL: self._open_tail,
            Action.FORGET: self._forget,
            Action.CONFIRM: self._confirm,
            Action.APPLY_REPLAYED: self._apply_replayed,
            Action.RESTART: self._restart,
            Action.CATCH_UP: self._catch_up,
            Action.GIVE_UP: self._give_up,
            Action.RETRY: self._retry,
            Action.START_OVER: self._start_over,
            Action.START_EMPTY: self._start_empty,
        }

    # --- inputs

    def connected(self, now_s: float) -> tuple[Effect, ...]:
        """The connection is up (again). Saying so twice only asks twice."""
        self._inquiry.join()
        return self._take(Input.CONNECTED, now_s)

    def disconnected(self, now_s: float) -> tuple[Effect, ...]:
        """The connection is gone; whatever was held back may be of a life that ended with it."""
        return self._take(Input.DISCONNECTED, now_s)

    def live(self, message: Message, now_s: float) -> tuple[Effect, ...]:
        """A live message arrived."""
        return self._take(_LIVE_INPUT_OF[self._ledger.relation(message)], now_s, message)

    def replayed(self, message: Message, now_s: float) -> tuple[Effect, ...]:
        """A message of the answer to the latest request arrived."""
        self._inquiry.hear(message, self._ledger)
        if self._retrying and message.seq == 0:
            return self._take(Input.RETRY_ANSWERED, now_s, message)
        relation = self._ledger.relation(message)
        if relation is Relation.NEXT and not self._inquiry.same_life:
            relation = Relation.AHEAD
        return self._take(_REPLAY_INPUT_OF[relation], now_s, message)

    def replay_ended(self, now_s: float) -> tuple[Effect, ...]:
        """The end marker of the answer to the latest request arrived."""
        return self._judge_answer(now_s, ended=True)

    def replay_timed_out(self, now_s: float) -> tuple[Effect, ...]:
        """The latest request was not answered to its end in time."""
        return self._judge_answer(now_s, ended=False)

    def published(self, seq: int, now_s: float) -> tuple[Effect, ...]:
        """The publisher itself says, by another way than the stream, that its last batch is `seq`.

        When that stays ahead of what is applied for longer than `tail_patience_s`, `tick` asks for a replay.
        To be said as often as it is read: a replay answers for all claims before it. Only a claim read while
        the connection was up may be given; a disconnect forgets it.
        """
        if self._state is not State.CONNECTING:
            self._tail.claim(seq, self._ledger.applied, now_s)
        return self.tick(now_s)

    def tick(self, now_s: float) -> tuple[Effect, ...]:
        """Time has passed."""
        retry_at_s = self._exactness.retry_at_s
        if retry_at_s is not None and now_s >= retry_at_s:
            self._exactness.retry_at_s = None
            return self._take(Input.RETRY_DUE, now_s)
        if self._tail.is_overdue(self._ledger.applied, now_s):
            return self._take(Input.TAIL_OVERDUE, now_s)
        return ()

    # --- what can be asked

    @property
    def state(self) -> State:
        """Where it is."""
        return self._state

    @property
    def applied_seq(self) -> int:
        """The last number applied, -1 before the first."""
        return self._ledger.applied

    @property
    def exact(self) -> bool:
        """Whether everything up to `applied_seq` is applied and nothing is known to be missing."""
        return self._exactness.exact and self._state is State.LIVE

    @property
    def awaits_answer(self) -> bool:
        """Whether the answer to the latest request still matters."""
        return self._state in AWAITING or (self._retrying and self._state is State.LIVE)

    @property
    def wake_at_s(self) -> float | None:
        """When `tick` will have something to do, None for not before something happens."""
        tail_due_s = self._tail.due_s if self._state is State.LIVE else None
        due_s = (self._exactness.retry_at_s, tail_due_s)
        return min((at_s for at_s in due_s if at_s is not None), default=None)

    def statistics(self) -> Statistics:
        """All of it, at this moment."""
        counts: Mapping[str, Any] = self._counts
        return Statistics(
            state=self._state,
            applied_seq=self._ledger.applied,
            exact=self.exact,
            held_back=self._ledger.held_back,
            degraded_reason=self._exactness.reason,
            applied_batches=self._ledger.entered,
            superseded_batches=self._ledger.superseded,
            irrecoverable_batches=self._ledger.irrecoverable,
            **counts,
        )

    # --- the machine

    def _take(self, what: Input, now_s: float, message: Message | None = None) -> tuple[Effect, ...]:
        self._now_s = now_s
        action, self._state = self._table[self._state][what]
        self._do[action](message)
        effects, self._effects = tuple(self._effects), []
        return effects

    def _judge_answer(self, now_s: float, *, ended: bool) -> tuple[Effect, ...]:
        if not self.awaits_answer:
            return ()
        self._counts["replay_ends"] += ended
        if self._state is State.LIVE:
            return self._judge_retry(now_s, ended=ended)
        judged = self._inquiry.judge(self._ledger, ended=ended)
        complete = judged in {Input.ANSWER_COMPLETE, Input.ANSWER_UNCONFIRMED}
        self._counts["replays_succeeded" if complete else "replays_failed"] += 1
        return self._take(judged, now_s)

    def _judge_retry(self, now_s: float, *, ended: bool) -> tuple[Effect, ...]:
        """The retry did not begin at 0; where nothing is known to exist, that may be the whole truth."""
        self._retrying = False
        nothing_came = self._inquiry.first_answered is None
        if ended and nothing_came and self._ledger.highest_known == NOTHING:
            return self._take(Input.RETRY_EMPTY, now_s)
        self._counts["replays_failed"] += 1
        self._exactness.retry_helps = nothing_came
        self._exactness.schedule_retry(now_s)
        return ()

    # --- actions: applying and holding back

    def _apply_live(self, message: Message | None) -> None:
        self._apply(_present(message), live=True)

    def _apply_replayed(self, message: Message | None) -> None:
        self._counts["replayed"] += 1
        self._apply(_present(message), live=False)

    def _apply(self, message: Message, *, live: bool) -> None:
        if message.seq == 0:
            self._exactness.regain()
        self._ledger.enter(message)
        try:
            batch = wire.decode_batch(message.payload)
        except WireError as error:
            self._counts["decode_errors"] += 1
            self._ledger.write_off_last()
            self._degrade(f"batch {message.seq} cannot be read: {error}")
            return
        self._effects.append(Apply(message.seq, batch, live))
        self._note_content(message.seq, batch)

    def _note_content(self, seq: int, batch: Batch) -> None:
        if not self._exactness.exact and any(isinstance(one, AllBlocksCleared) for one in batch.events):
            self._exactness.regain()
            self._ledger.supersede()
        if batch.unknown_events:
            self._counts["unknown_events"] += len(batch.unknown_events)
        if batch.malformed:
            self._counts["malformed_events"] += batch.malformed
            first = next(one for one in batch.unknown_events if ": " in one)  # an unknown type has no reason
            self._degrade(f"batch {seq} has events that cannot be read: {first}")

    def _hold(self, message: Message | None) -> None:
        self._counts["held_dropped"] += not self._ledger.hold(_present(message))

    def _count_duplicate(self, _message: Message | None) -> None:
        self._counts["duplicates"] += 1

    def _forget(self, _message: Message | None) -> None:
        self._ledger.forget_beyond()
        self._tail.forget()
        self._retrying = False

    def _catch_up(self, _message: Message | None) -> None:
        """Apply what was held back: after a complete answer nothing is missing between."""
        for message in self._ledger.release():
            self._apply(message, live=False)
        self._counts["gaps_repaired"] += self._gap_open
        self._gap_open = False
        self._tail.forget()  # answered for; one that is still ahead will be made again
        self._exactness.settle(self._now_s)

    # --- actions: asking

    def _ask(self, _message: Message | None) -> None:
        self._retrying = False
        self._ask_from(max(self._ledger.applied, 0), same_life=self._ledger.applied == NOTHING)

    def _ask_from(self, start_seq: int, *, same_life: bool) -> None:
        self._inquiry.ask(self._ledger, same_life=same_life)
        self._counts["replays_asked"] += 1
        self._effects.append(AskReplay(start_seq))

    def _confirm(self, _message: Message | None) -> None:
        self._inquiry.same_life = True

    def _open_gap(self, message: Message | None) -> None:
        ahead = _present(message)
        self._count_gap(ahead.seq - 1)
        self._hold(ahead)
        self._ask(None)

    def _open_tail(self, _message: Message | None) -> None:
        self._count_gap(self._tail.claimed)
        self._ledger.highest_known = max(self._ledger.highest_known, self._tail.claimed)
        self._ask(None)

    def _count_gap(self, last_missing: int) -> None:
        self._gap_open = True
        self._counts["gaps"] += 1
        self._counts["missed"] += last_missing - self._ledger.applied
        self._inquiry.about_another_hole()

    def _restart(self, message: Message | None) -> None:
        """Another life: nothing known holds.

        The batch that gave it away, if any, is the first of the new one.
        """
        self._counts["restarts"] += 1
        gave_away = "its stream is shorter" if message is None else f"batch {message.seq} is another one"
        self._purge(f"the publisher restarted: {gave_away}")
        self._begin_anew()
        if message is not None:
            self._hold(message)
        self._ask(None)

    def _begin_anew(self) -> None:
        self._ledger.begin_anew()
        self._inquiry.about_another_hole()
        self._tail.forget()
        self._exactness.regain()

    # --- actions: giving up, and trying again

    def _give_up(self, _message: Message | None) -> None:
        reason = self._inquiry.why_incomplete(self._ledger)
        self._exactness.lose(reason)
        self._exactness.retry_helps = self._inquiry.begins_early_enough(self._ledger)
        self._purge(reason)
        if not self._inquiry.same_life:  # our numbers may be those of a life that is over
            self._ledger.forget_applied()
        self._ledger.keep_last_run()
        self._ledger.write_off()
        self._catch_up(None)
        self._ledger.forget_beyond()  # what the limit refused shows as a gap with the next batch
        if not self._exactness.exact:  # a clear among what was held back says everything
            self._degrade(reason)

    def _retry(self, _message: Message | None) -> None:
        self._retrying = True
        self._ask_from(0, same_life=True)

    def _start_over(self, message: Message | None) -> None:
        """The retry is answered from 0: now the index may be rebuilt.

        All numbers seen so far must come again.
        """
        highest_known = self._ledger.highest_known
        self._retrying = False
        self._purge("a degraded source is replayed from its beginning")
        self._begin_anew()
        self._ledger.highest_known = highest_known
        self._inquiry.ask(self._ledger, same_life=True)
        self._inquiry.hear(_present(message), self._ledger)
        self._apply_replayed(message)

    def _start_empty(self, _message: Message | None) -> None:
        self._counts["replays_succeeded"] += 1
        self._purge("the publisher has published nothing yet")
        self._begin_anew()

    # --- exactness

    def _purge(self, reason: str) -> None:
        self._counts["purges"] += 1
        self._effects.append(Purge(reason))

    def _degrade(self, reason: str) -> None:
        self._exactness.lose(reason)
        self._counts["degradations"] += 1
        self._effects.append(Degrade(reason))
        if self._state is State.LIVE and self._exactness.retry_at_s is None:
            self._exactness.schedule_retry(self._now_s)


def _present(message: Message | None) -> Message:
    assert message is not None, "this transition carries a message. This is a bug."
    return message
