"""The subscriber's transition table: in which state what happens means what, and where it leads.

One table, three readers: `subscriber` runs it, the tests walk it, the documentation draws it. A row for
every state, an entry for every input: what cannot matter in a state is ignored by name, not by omission.
`subscriber` tells why.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias


class State(StrEnum):
    """Where the subscriber is."""

    CONNECTING = "connecting"
    REPLAYING = "replaying"
    LIVE = "live"
    GAP = "gap"
    RESYNCING = "resyncing"


AWAITING: Final = frozenset({State.REPLAYING, State.GAP, State.RESYNCING})
"""Where a replay is in."""


class Input(StrEnum):
    """What happened, after numbers and fingerprints were looked at."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    LIVE_NEXT = "live: the next number"
    LIVE_AHEAD = "live: numbers skipped"
    LIVE_KNOWN = "live: had that one"
    LIVE_RESTARTED = "live: another batch under a number we had"
    REPLAY_NEXT = "replay: the next number"
    REPLAY_AHEAD = "replay: numbers skipped, or identity not yet proven"
    REPLAY_KNOWN = "replay: had that one"
    REPLAY_RESTARTED = "replay: another batch under a number we had"
    ANSWER_COMPLETE = "replay over: nothing missing"
    ANSWER_INCOMPLETE = "replay over: something missing, tries left"
    ANSWER_EXHAUSTED = "replay over: something missing, no tries left"
    ANSWER_UNCONFIRMED = "replay over: nothing missing, but it may be older than the subscription"
    ANSWER_EMPTY = "replay over: not even the batch we have, no tries left"
    RETRY_DUE = "a degraded source may be tried again"
    RETRY_ANSWERED = "the retry is answered from 0"
    RETRY_EMPTY = "the retry is answered by the end marker alone"
    TAIL_OVERDUE = "the publisher's own number stays ahead"


class Action(StrEnum):
    """What to do about it."""

    IGNORE = "ignore"
    APPLY = "apply"
    HOLD = "hold back"
    COUNT_DUPLICATE = "count a duplicate"
    ASK = "ask for what is missing"
    OPEN_GAP = "hold back, ask for what is missing"
    OPEN_TAIL = "count what is missing, ask for it"
    FORGET = "drop what was held back"
    CONFIRM = "same life: proven"
    APPLY_REPLAYED = "apply, same life"
    RESTART = "purge, ask from 0"
    CATCH_UP = "apply what was held back"
    GIVE_UP = "purge, degrade, go on from here"
    RETRY = "ask from 0, change nothing yet"
    START_OVER = "purge, apply from 0"
    START_EMPTY = "purge: nothing has been published"


class Transition(NamedTuple):
    """What to do, and the state afterwards."""

    action: Action
    state: State


def _awaiting(state: State) -> dict[Input, Transition]:
    """The row of a state in which a replay is in: the three differ in why, not in what can happen."""
    return {
        Input.CONNECTED: Transition(Action.ASK, State.REPLAYING),
        Input.DISCONNECTED: Transition(Action.FORGET, State.CONNECTING),
        Input.LIVE_NEXT: Transition(Action.HOLD, state),
        Input.LIVE_AHEAD: Transition(Action.HOLD, state),
        Input.LIVE_KNOWN: Transition(Action.COUNT_DUPLICATE, state),
        Input.LIVE_RESTARTED: Transition(Action.RESTART, State.RESYNCING),
        Input.REPLAY_NEXT: Transition(Action.APPLY_REPLAYED, state),
        Input.REPLAY_AHEAD: Transition(Action.HOLD, state),
        Input.REPLAY_KNOWN: Transition(Action.CONFIRM, state),
        Input.REPLAY_RESTARTED: Transition(Action.RESTART, State.RESYNCING),
        Input.ANSWER_COMPLETE: Transition(Action.CATCH_UP, State.LIVE),
        Input.ANSWER_INCOMPLETE: Transition(Action.ASK, state),
        Input.ANSWER_EXHAUSTED: Transition(Action.GIVE_UP, State.LIVE),
        Input.ANSWER_UNCONFIRMED: Transition(Action.ASK, state),
        Input.ANSWER_EMPTY: Transition(Action.RESTART, State.RESYNCING),
        Input.RETRY_DUE: Transition(Action.IGNORE, state),
        Input.RETRY_ANSWERED: Transition(Action.IGNORE, state),
        Input.RETRY_EMPTY: Transition(Action.IGNORE, state),
        Input.TAIL_OVERDUE: Transition(Action.IGNORE, state),
    }


def _ignoring(state: State, inputs: tuple[Input, ...]) -> dict[Input, Transition]:
    return dict.fromkeys(inputs, Transition(Action.IGNORE, state))


_REPLAY_INPUTS: Final = tuple(one for one in Input if one.name.startswith(("REPLAY_", "ANSWER_")))
_LIVE_INPUTS: Final = tuple(one for one in Input if one.name.startswith("LIVE_"))

Table: TypeAlias = Mapping[State, Mapping[Input, Transition]]

TRANSITIONS: Final[Table] = {
    State.CONNECTING: {
        Input.CONNECTED: Transition(Action.ASK, State.REPLAYING),
        Input.DISCONNECTED: Transition(Action.IGNORE, State.CONNECTING),
        Input.RETRY_DUE: Transition(Action.IGNORE, State.CONNECTING),
        Input.RETRY_ANSWERED: Transition(Action.IGNORE, State.CONNECTING),
        Input.RETRY_EMPTY: Transition(Action.IGNORE, State.CONNECTING),
        Input.TAIL_OVERDUE: Transition(Action.IGNORE, State.CONNECTING),
        **_ignoring(State.CONNECTING, (*_LIVE_INPUTS, *_REPLAY_INPUTS)),
    },
    State.LIVE: {
        Input.CONNECTED: Transition(Action.ASK, State.REPLAYING),
        Input.DISCONNECTED: Transition(Action.FORGET, State.CONNECTING),
        Input.LIVE_NEXT: Transition(Action.APPLY, State.LIVE),
        Input.LIVE_AHEAD: Transition(Action.OPEN_GAP, State.GAP),
        Input.LIVE_KNOWN: Transition(Action.COUNT_DUPLICATE, State.LIVE),
        Input.LIVE_RESTARTED: Transition(Action.RESTART, State.RESYNCING),
        Input.RETRY_DUE: Transition(Action.RETRY, State.LIVE),
        Input.RETRY_ANSWERED: Transition(Action.START_OVER, State.RESYNCING),
        Input.RETRY_EMPTY: Transition(Action.START_EMPTY, State.LIVE),
        Input.TAIL_OVERDUE: Transition(Action.OPEN_TAIL, State.GAP),
        **_ignoring(State.LIVE, _REPLAY_INPUTS),  # late remains of an answer already judged
    },
    **{state: _awaiting(state) for state in State if state in AWAITING},
}
