"""State machines of a subscription that make one mistake each about numbers, replays and lives.

Where the mistake is one of what to do, it is a few cells of `resync.kvsync.transitions`.
"""

from collections.abc import Iterable, Mapping

from resync.kvsync.effects import Effect
from resync.kvsync.ledger import NOTHING
from resync.kvsync.limits import SubscriberSettings
from resync.kvsync.records import Message
from resync.kvsync.subscriber import Subscriber
from resync.kvsync.transitions import AWAITING, TRANSITIONS, Action, Input, State, Table, Transition

Row = Mapping[Input, tuple[Action, State | None]]
"""What is done otherwise; no state: it stays."""

ANSWERS = (Input.ANSWER_INCOMPLETE, Input.ANSWER_EXHAUSTED, Input.ANSWER_EMPTY)


def altered(states: Iterable[State], row: Row) -> Table:
    """The table, with `row` in those states."""
    cells = {
        state: {what: Transition(action, then or state) for what, (action, then) in row.items()}
        for state in states
    }
    return {state: {**healthy, **cells.get(state, {})} for state, healthy in TRANSITIONS.items()}


class EndTrusted(Subscriber):
    """Takes a replay for complete because its end marker came."""

    def replay_ended(self, now_s: float) -> tuple[Effect, ...]:
        """Go on as after a complete one."""
        if self.state not in AWAITING:
            return super().replay_ended(now_s)
        self._counts["replays_succeeded"] += 1
        return self._take(Input.ANSWER_COMPLETE, now_s)


class ReplayDiscarded(EndTrusted):
    """Reads the answer to a replay, throws it away and counts a success."""

    def replayed(self, message: Message, now_s: float) -> tuple[Effect, ...]:  # noqa: ARG002
        """Nothing."""
        return ()


class GapOnlyCounted(Subscriber):
    """Counts a gap and goes on with what is there; asks for no replay, after a connect neither."""

    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(
            settings,
            {
                **altered([State.LIVE], {Input.LIVE_AHEAD: (Action.OPEN_GAP, None)}),
                State.CONNECTING: {
                    **TRANSITIONS[State.CONNECTING],
                    Input.CONNECTED: Transition(Action.IGNORE, State.LIVE),
                },
            },
        )

    def _open_gap(self, message: Message | None) -> None:
        assert message is not None, "a gap is seen with a message"
        self._count_gap(message.seq - 1)
        self._apply(message, live=True)


class RestartIgnored(Subscriber):
    """Applies whatever number comes next, also one from the beginning."""

    def __init__(self, settings: SubscriberSettings) -> None:
        row: Row = {
            Input.LIVE_RESTARTED: (Action.APPLY, None),
            Input.REPLAY_RESTARTED: (Action.APPLY_REPLAYED, None),
            Input.ANSWER_EMPTY: (Action.CATCH_UP, State.LIVE),
            Input.ANSWER_EXHAUSTED: (Action.CATCH_UP, State.LIVE),
        }
        live: Row = {Input.LIVE_RESTARTED: (Action.APPLY, None)}
        table = altered(AWAITING, row)
        super().__init__(settings, {**table, State.LIVE: altered([State.LIVE], live)[State.LIVE]})


class LiveBeforeReplay(Subscriber):
    """Holds nothing back after a reconnect: what is live is applied at once, what is replayed after it."""

    def connected(self, now_s: float) -> tuple[Effect, ...]:
        """From the second connection on with another table."""
        if self.applied_seq != NOTHING:
            self._table = self._hasty()
        return super().connected(now_s)

    @staticmethod
    def _hasty() -> Table:
        live = (Input.LIVE_NEXT, Input.LIVE_AHEAD)
        replayed = (Input.REPLAY_NEXT, Input.REPLAY_AHEAD, Input.REPLAY_RESTARTED)
        row: Row = {
            **dict.fromkeys(live, (Action.APPLY, None)),
            **dict.fromkeys(replayed, (Action.APPLY_REPLAYED, None)),
            **dict.fromkeys(ANSWERS, (Action.CATCH_UP, State.LIVE)),
        }
        return altered(AWAITING, row)


class ReplayCountedTwice(Subscriber):
    """Asks for everything after a reconnect, and applies again what it has had already."""

    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(settings)
        self._connects = 0

    def connected(self, now_s: float) -> tuple[Effect, ...]:
        """Count it."""
        self._connects += 1
        return super().connected(now_s)

    def _ask_from(self, start_seq: int, *, same_life: bool) -> None:
        super()._ask_from(0 if self._connects > 1 else start_seq, same_life=same_life)

    def _confirm(self, message: Message | None) -> None:
        super()._confirm(message)
        if self._connects > 1:
            self._apply_replayed(message)
