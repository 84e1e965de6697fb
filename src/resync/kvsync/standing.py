"""Where a subscriber stands and what it has seen, for whoever watches it."""

import msgspec

from resync.kvsync.transitions import State


class Statistics(msgspec.Struct, frozen=True):
    """One moment of a subscriber. Counts are of batches unless they say otherwise, and only grow.

    `gaps`: holes seen, in the stream or at its tail; `missed`: numbers in them; `gaps_repaired`: closed by a
    complete replay, or by a purge that was reported. `held_back`: waiting now; `held_dropped`: refused by
    the limit (a replay brings them). `replay_ends`: answers that came with their end marker, each checked for
    what it brought.

    `applied_batches`, `superseded_batches` and `irrecoverable_batches` are the books of this life (see
    `ledger`): they begin at 0 with it and add up to `applied_seq + 1`.
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
    replay_ends: int = 0
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
    applied_batches: int = 0
    superseded_batches: int = 0
    irrecoverable_batches: int = 0
