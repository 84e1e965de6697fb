"""Any interleaving of loss, repetition, disorder, restart, truncated replay ends with index equal to truth.

One world: engines with a block pool and a publisher with a short ring, a link that misbehaves, a subscriber
and an index; and a ledger of the world's own, which knows what is lost for good. Five properties:

- *exact is equal*: a source that calls itself exact has exactly what its engine held when it published the
  applied number;
- *degraded is less*: one that does not has no block too many;
- *once, in order*: between two purges, numbers only grow;
- *settles*: when the faults stop it is live, up to date, and exact, unless the ledger proves the loss;
- *the books close*: every number of a life is applied, superseded or irrecoverable, and one of them only.

Hypothesis looks for the shortest way to break them, seeded walks look for the rarest. Every property must
catch at least five broken copies of the subscriber, each alone.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from resync.kvsync import chain, handlers
from resync.kvsync.effects import Apply, AskReplay, Degrade, Effect, Purge
from resync.kvsync.index import PrefixIndex
from resync.kvsync.ledger import Relation
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import AllBlocksCleared, Batch, BlockRemoved, BlockStored, KVEvent, Message
from resync.kvsync.subscriber import Subscriber, SubscriberSettings
from resync.kvsync.transitions import Input, State

pytestmark = [pytest.mark.unit, pytest.mark.no_cover]  # traced: three times as long, no line more

POD = "default/engine-0"
SIZE = 2
RING = 8
LIFE_S = 1000.0
SETTINGS = SubscriberSettings(
    held_limit=6, fingerprint_limit=64, retry_min_s=1.0, retry_max_s=4.0, tail_patience_s=1.0
)
SETTLE_ROUNDS = 40
SETTLE_STEP_S = 5.0

Held = dict[int, tuple[int, int]]


class Property(StrEnum):
    EXACT_IS_EQUAL = "exact is equal"
    DEGRADED_IS_LESS = "degraded is less"
    ONCE_IN_ORDER = "once, in order"
    SETTLES = "settles"
    BOOKS_CLOSE = "the books close"


class Engine:
    """One life: a pool of chained blocks with copies, its publisher, and what was held after every batch.

    The same prompt has the same hashes in every life of the same `salt`.
    """

    def __init__(self, life: int, salt: int) -> None:
        self.life = life
        self.publisher = Publisher(buffer_steps=RING)
        self.held: Held = {}
        self.history: list[Held] = []
        self.unreadable: set[int] = set()
        self.last_clear = -1
        self._salt = salt

    def store(self, prompt: int, length: int) -> BlockStored:
        tokens = tuple(prompt * 100 + n for n in range(length * SIZE))
        keys = chain.prefix_keys(tokens, SIZE)
        hashes = tuple(key ^ self._salt for key in keys)
        for block_hash, key in zip(hashes, keys, strict=True):
            self.held[block_hash] = (self.held.get(block_hash, (0, 0))[0] + 1, key)
        return BlockStored(hashes, None, tokens, SIZE)

    def remove(self, at: int) -> BlockRemoved:
        block_hash = sorted(self.held)[at % len(self.held)]
        copies, key = self.held.pop(block_hash)
        if copies > 1:
            self.held[block_hash] = (copies - 1, key)
        return BlockRemoved((block_hash,))

    def publish(self, *events: KVEvent, readable: bool = True) -> Message:
        # The time differs between lives, as it does in reality: the same events are still other bytes.
        message = self.publisher.publish(Batch(LIFE_S * self.life + len(self.history), events))
        self.history.append(dict(self.held))
        if any(isinstance(one, AllBlocksCleared) for one in events):
            self.last_clear = message.seq
        if not readable:
            message = Message(message.topic, message.seq, b"\xc1" + bytes([self.life]))
            self.publisher._ring[-1] = message
            self.unreadable.add(message.seq)
        return message

    @property
    def cannot_be_read(self) -> bool:
        """Whether a batch that still matters says nothing."""
        return any(seq > self.last_clear for seq in self.unreadable)

    @property
    def ring_lost_its_beginning(self) -> bool:
        ring = self.publisher.replay(0)
        return bool(ring) and ring[0].seq > 0


class World:
    """Engine, link, subscriber, index; `checked` says which properties are looked at."""

    def __init__(
        self, subscriber: type[Subscriber] = Subscriber, checked: frozenset[Property] = frozenset(Property)
    ) -> None:
        self.checked = checked
        self.now_s = 0.0
        self.lives = [Engine(0, 0)]
        self.subscriber = subscriber(SETTINGS)
        self.index = PrefixIndex(block_size=SIZE)
        self.in_flight: list[Message] = []
        self.asked: int | None = None
        self.answer: list[Message | None] = []  # None is the end marker
        self.connected = False
        self.half_open = False
        # The ledger: which batch the index was last brought to, what was lost and why.
        self.reflects: tuple[int, int] | None = None
        self.unreadable_applied = False
        self.known_life: int | None = None
        self.whole_up_to: int | None = None  # an answer that the stream overtakes is no longer whole
        self.spoiled = 0
        self.cause: str | None = None
        self.connect()

    @property
    def engine(self) -> Engine:
        return self.lives[-1]

    def require(self, what: Property, holds: bool, sentence: str) -> None:  # noqa: FBT001
        assert holds or what not in self.checked, f"{what}: {sentence}"

    # --- doing what the subscriber wants

    def tell(self, input_: Callable[..., tuple[Effect, ...]], *arguments: object) -> None:
        applied_before = self.subscriber.applied_seq
        entered_before = self.subscriber.statistics().applied_batches
        effects = input_(*arguments, self.now_s)
        self.check_books(entered_before, effects)
        for effect in effects:
            match effect:
                case Apply(seq=seq, batch=batch):
                    self.applied(seq, batch)
                case AskReplay(start_seq=start):
                    self.spoil_answer()
                    self.asked, self.answer = start, []
                case Purge():
                    self.index.purge(POD)
                    self.reflects, self.unreadable_applied = None, False
                case Degrade():
                    self.cause = self.why_degraded(applied_before)
                    self.require(Property.SETTLES, self.cause is not None, "degraded without a cause")
        if self.subscriber.applied_seq in self.engine.unreadable:
            self.unreadable_applied = True
        self.check()

    def applied(self, seq: int, batch: Batch) -> None:
        last = -1 if self.reflects is None else self.reflects[1]
        self.require(Property.ONCE_IN_ORDER, seq > last, f"batch {seq} after {last}")
        self.reflects = int(batch.ts // LIFE_S), seq
        if any(isinstance(one, AllBlocksCleared) for one in batch.events):
            self.unreadable_applied = False
        handlers.apply_batch(self.index, POD, batch)

    def why_degraded(self, applied_before: int) -> str | None:
        ring = self.engine.publisher.replay(0)
        causes = {
            "a batch that cannot be read": bool(self.engine.unreadable),
            # with the last applied batch gone, nothing proves that this is still the same life
            "batches gone from the ring": bool(ring) and max(applied_before, 0) < ring[0].seq,
            "answers spoiled by the link": self.spoiled >= SETTINGS.tries_limit,
            "a restart not yet noticed": self.half_open,
        }
        return next((cause for cause, holds in causes.items() if holds), None)

    def check_books(self, entered_before: int, effects: tuple[Effect, ...]) -> None:
        now = self.subscriber.statistics()
        books = (now.applied_batches, now.superseded_batches, now.irrecoverable_batches)
        closed = sum(books) == now.applied_seq + 1 and min(books) >= 0
        self.require(Property.BOOKS_CLOSE, closed, f"{books} for batch {now.applied_seq}")
        entered = sum(isinstance(one, Apply) for one in effects)
        purged = any(isinstance(one, Purge) for one in effects)
        right = {entered_before + entered} | ({entered} if purged else set())
        self.require(Property.BOOKS_CLOSE, now.applied_batches in right, f"{books}, {entered} applied")
        self.require(
            Property.BOOKS_CLOSE, not (now.exact and now.irrecoverable_batches), f"exact without {books[2]}"
        )

    def check(self) -> None:
        if self.subscriber.state is not State.LIVE:
            return
        truth: Held = {}
        if self.reflects is not None:
            life, seq = self.reflects
            truth = self.lives[life].history[seq]
        indexed = {one.hash: (one.copies, one.prefix_key or 0) for one in self.index.entries(POD)}
        if self.subscriber.exact:
            self.require(Property.EXACT_IS_EQUAL, indexed == truth, f"{indexed} for {truth}")
        elif not self.unreadable_applied:
            extra = {
                block_hash
                for block_hash, (copies, key) in indexed.items()
                if copies > truth.get(block_hash, (0, 0))[0] or key not in {0, truth[block_hash][1]}
            }
            self.require(Property.DEGRADED_IS_LESS, not extra, f"blocks that are not there: {extra}")

    # --- the engine

    def send(self, message: Message) -> None:
        if self.connected and not self.half_open:
            self.in_flight.append(message)

    def store(self, n: int) -> None:
        stored = self.engine.store(n % 4, 1 + n // 4 % 3)
        self.send(self.engine.publish(stored, readable=n % 31 != 30))

    def remove(self, n: int) -> None:
        if self.engine.held:
            self.send(self.engine.publish(self.engine.remove(n)))

    def clear(self, n: int) -> None:
        """Late, as vLLM does it: first in the batch of the next request."""
        if n % 4 == 0:
            self.engine.held.clear()
            self.send(self.engine.publish(AllBlocksCleared(), self.engine.store(n % 3, 1)))

    def restart(self, n: int) -> None:
        """The process ends, with its connections; or nobody says so, and only heartbeats will tell."""
        if n % 4 == 0:
            self.begin_life(salt=n % 3)
            self.half_open = self.connected
            if n % 8 == 0:
                self.disconnect(0)

    def restart_unseen(self, n: int) -> None:
        """Something in between hides the reconnect; the new life's first batch comes over the old link.

        That shows by a number that comes twice, so not while nothing is applied.
        """
        if n % 4 == 0 and self.connected and not self.half_open and self.subscriber.applied_seq >= 0:
            self.begin_life(salt=n % 3)
            self.tell(self.subscriber.live, self.engine.publish(self.engine.store(n % 3, 1)))

    def begin_life(self, salt: int) -> None:
        self.answer = []
        self.lives.append(Engine(len(self.lives), salt))
        self.in_flight.clear()

    def claim(self, _n: int) -> None:
        if self.connected:
            self.tell(self.subscriber.published, self.engine.publisher.published_seq)

    # --- the link

    def connect(self, _n: int = 0) -> None:
        if not self.connected:
            self.connected = True
            self.tell(self.subscriber.connected)

    def connect_again(self, n: int) -> None:
        """A shell that says so twice."""
        if self.connected and not self.half_open and n % 4 == 0:
            self.tell(self.subscriber.connected)

    def disconnect(self, n: int) -> None:
        if self.connected and n % 4 == 0:
            self.connected = self.half_open = False
            self.in_flight.clear()
            self.asked, self.answer = None, []
            self.tell(self.subscriber.disconnected)

    def deliver(self, n: int) -> None:
        for message in [self.in_flight.pop(0) for _ in range(min(1 + n % 4, len(self.in_flight)))]:
            self.known_life = self.engine.life
            self.tell(self.subscriber.live, message)

    def late(self, n: int) -> None:
        """What a shell would throw away arrives all the same."""
        ring = self.engine.publisher.replay(0)
        if ring and not self.connected:
            self.tell((self.subscriber.live, self.subscriber.replayed)[n % 2], ring[n % len(ring)])

    def lose(self, n: int) -> None:
        if self.in_flight:
            at = n % len(self.in_flight)
            del self.in_flight[at : at + 1 + n % 3]

    def repeat(self, n: int) -> None:
        if self.in_flight:
            self.in_flight.append(self.in_flight[n % len(self.in_flight)])

    def overtake(self, n: int) -> None:
        if self.in_flight:
            self.in_flight.insert(0, self.in_flight.pop(n % len(self.in_flight)))

    # --- replay

    def answer_partly(self, n: int) -> None:
        """A full pipe loses anything but what is first in it, and the marker; or the end comes early."""
        if self.asked is not None:
            ring = self.engine.publisher.replay(self.asked)
            kept = [message for at, message in enumerate(ring) if at == 0 or n >> at & 1]
            self.answer = [*kept, None] if n & 1 else [*kept]
            self.asked, self.whole_up_to = None, None

    def answer_wholly(self, _n: int = 0) -> None:
        if self.asked is not None:
            self.answer = [*self.engine.publisher.replay(self.asked), None]
            self.asked, self.whole_up_to = None, self.engine.publisher.published_seq

    def deliver_answer(self, n: int) -> None:
        for _ in range(1 + n % (RING + 1)):
            if not self.answer:
                return
            message = self.answer.pop(0)
            if message is None:
                good = self.whole_up_to == self.engine.publisher.published_seq
                good &= self.known_life in {None, self.engine.life}
                self.spoiled = 0 if good else self.spoiled + 1
                self.tell(self.subscriber.replay_ended)
            else:
                self.known_life = self.engine.life
                self.tell(self.subscriber.replayed, message)

    def stay_silent(self, _n: int = 0) -> None:
        if self.subscriber.awaits_answer:
            self.spoiled += 1
            self.asked, self.answer = None, []
            self.tell(self.subscriber.replay_timed_out)

    def spoil_answer(self) -> None:
        """Another question voids what is left of an answer."""
        self.spoiled += bool(self.answer)

    def wait(self, n: int) -> None:
        self.now_s += (0.5, 2.0, 8.0)[n % 3]
        self.tell(self.subscriber.tick)

    def calm(self, n: int) -> None:
        """For a while nothing goes wrong."""
        if n % 2 == 0:
            self.connect()
            self.deliver_all()

    # --- the end

    def settle(self, *, silent: bool) -> None:
        """The faults stop. The stream goes on, or is silent and the publisher's own number is seen."""
        if self.half_open:
            self.disconnect(0)
        self.connect()
        if not silent:
            for _ in range(2):  # one is not enough: with a hold limit this short, the first can be refused
                self.store(3)
                self.deliver_all()
        for _ in range(SETTLE_ROUNDS):
            self.claim(0)
            self.deliver_all()
            self.now_s += SETTLE_STEP_S
            self.tell(self.subscriber.tick)
        where = (self.subscriber.state, self.subscriber.applied_seq)
        wanted = (State.LIVE, self.engine.publisher.published_seq)
        self.require(Property.SETTLES, where == wanted, f"{where}, not {wanted}")
        proven = self.engine.ring_lost_its_beginning or self.engine.cannot_be_read
        self.require(Property.SETTLES, self.subscriber.exact or proven, "all could be had")

    def deliver_all(self) -> None:
        for _ in range(1_000):
            if self.in_flight:
                self.deliver(3)
            elif self.asked is not None:
                self.answer_wholly()
            elif self.answer:
                self.deliver_answer(RING)
            elif self.subscriber.awaits_answer:
                self.stay_silent()
            else:
                return
        self.require(Property.SETTLES, holds=False, sentence="it asks for ever")


class Move(NamedTuple):
    """Something that happens; what exactly is drawn as one number."""

    name: str
    happen: Callable[[World, int], None]

    def __repr__(self) -> str:
        return self.name


MOVES = tuple(
    Move(one.__name__, one)
    for one in (
        World.store, World.remove, World.clear, World.restart, World.restart_unseen, World.claim,
        World.connect, World.connect_again, World.disconnect, World.deliver, World.late, World.lose,
        World.repeat, World.overtake, World.answer_partly, World.answer_wholly, World.deliver_answer,
        World.stay_silent, World.wait, World.calm,
    )
)  # fmt: skip
NAMED = {move.name: move for move in MOVES}
N_MAX = 1023
STEPS = 60


def walk(world: World, seed: int, steps: int = STEPS) -> World:
    """The world after a walk that the seed determines, and after the faults have stopped."""
    dice = random.Random(seed)
    for move in dice.choices(MOVES, k=steps):
        move.happen(world, dice.randint(0, N_MAX))
    world.settle(silent=seed % 2 == 0)
    return world


class StreamMachine(RuleBasedStateMachine):
    """The world, misbehaving as Hypothesis likes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.silent = False

    @rule(move=st.sampled_from(MOVES), n=st.integers(0, N_MAX))
    def happen(self, move: Move, n: int) -> None:
        self.silent = n % 2 == 0
        move.happen(self.world, n)

    def teardown(self) -> None:
        self.world.settle(silent=self.silent)


def test_hypothesis_finds_no_way_to_break_it() -> None:
    run_state_machine_as_test(
        StreamMachine,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            print_blob=True,
        ),
    )


# --- seeded walks, and what they went through ------------------------------------------

UNREACHABLE: dict[tuple[State, Input], str] = {
    **{
        (
            state,
            what,
        ): "nothing was asked, so no answer is judged; the answer to a retry has no row of its own"
        for state in (State.CONNECTING, State.LIVE)
        for what in Input
        if what.name.startswith("ANSWER_")
    },
    **{
        (state, what): "leaving LIVE ends the retry"
        for state in State
        if state is not State.LIVE
        for what in (Input.RETRY_ANSWERED, Input.RETRY_EMPTY)
    },
    (State.GAP, Input.ANSWER_UNCONFIRMED): "whoever was LIVE before has had its second answer",
    (
        State.CONNECTING,
        Input.TAIL_OVERDUE,
    ): "a disconnect forgets the claims, and none is taken before a connect",
    (State.CONNECTING, Input.DISCONNECTED): "a connection ends once",
    (State.RESYNCING, Input.RETRY_DUE): "starting over from nothing calls off the retry",
}


class Counted(Subscriber):
    """Counts the rows that were taken, over all walks."""

    hits: ClassVar[Counter[tuple[State, Input]]] = Counter()

    def _take(self, what: Input, now_s: float, message: Message | None = None) -> tuple[Effect, ...]:
        self.hits[self._state, what] += 1
        return super()._take(what, now_s, message)


SEEDS = (*range(1_000), 1397, 1730, 2454, 3384)
"""The last four go where few walks go."""


def test_every_reachable_row_is_walked_and_every_loss_is_proven(
    record_property: Callable[[str, object], None],
) -> None:
    Counted.hits.clear()
    ends = Counter[str | None]()
    for seed in SEEDS:
        world = walk(World(Counted), seed)
        ends["exact" if world.subscriber.exact else world.cause] += 1

    shares = {str(end): f"{count / len(SEEDS):.1%}" for end, count in ends.items()}
    record_property(f"{len(SEEDS)} walks ended exact, or degraded by", shares)
    record_property("how often each row of the transition table was taken", table(Counted.hits))
    rows = {(state, what) for state in State for what in Input}
    assert rows - Counted.hits.keys() == set(UNREACHABLE)
    assert ends["exact"] > len(SEEDS) // 2
    assert len(ends) > 1, "no walk lost anything: the world is too kind"


def table(hits: Counter[tuple[State, Input]]) -> str:
    """A column for each state, a line for each input; `-` where UNREACHABLE has the reason."""
    lines = [[*State, "input"]]
    lines += [
        ["-" if (state, what) in UNREACHABLE else str(hits[state, what]) for state in State] + [what]
        for what in Input
    ]
    return "".join("\n" + "".join(f"{cell:>11}" for cell in cells) + f"  {name}" for *cells, name in lines)


# --- broken copies ---------------------------------------------------------------------


def without_purges(effects: list[Effect]) -> list[Effect]:
    return [one for one in effects if not isinstance(one, Purge)]


class AsksFromTheNextNumber(Subscriber):
    """So no known batch proves whose answer it is."""

    def _ask(self, _message: Message | None) -> None:
        self._retrying = False
        self._ask_from(self._ledger.applied + 1, same_life=True)


class TakesTheMarkerForComplete(Subscriber):
    def _judge_answer(self, now_s: float, *, ended: bool) -> tuple[Effect, ...]:
        self._ledger.highest_known = self._ledger.applied
        return super()._judge_answer(now_s, ended=ended)


class AppliesLiveDuringReplay(Subscriber):
    def _hold(self, message: Message | None) -> None:
        assert message is not None
        self._apply(message, live=True)


class NeverSeesARestart(Subscriber):
    """Every old number is a duplicate."""

    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(settings)
        ledger, relation = self._ledger, self._ledger.relation
        known = {Relation.RESTARTED: Relation.KNOWN}
        ledger.relation = lambda message: known.get(one := relation(message), one)  # type: ignore[method-assign]


class KeepsTheIndexOnRestart(Subscriber):
    def _restart(self, message: Message | None) -> None:
        super()._restart(message)
        self._effects = without_purges(self._effects)


class AppliesRepeats(Subscriber):
    def _count_duplicate(self, message: Message | None) -> None:
        assert message is not None
        self._apply(message, live=True)


class AppliesWhatItConfirms(Subscriber):
    """The batch asked for as a proof is applied again."""

    def _confirm(self, message: Message | None) -> None:
        super()._confirm(message)
        self._apply_replayed(message)


class StepsOverGaps(Subscriber):
    def _open_gap(self, message: Message | None) -> None:
        assert message is not None
        self._state = State.LIVE
        self._apply(message, live=True)


class GivesUpWithoutPurging(Subscriber):
    def _give_up(self, message: Message | None) -> None:
        super()._give_up(message)
        self._effects = without_purges(self._effects)


class StaysExactAfterGivingUp(Subscriber):
    def _give_up(self, message: Message | None) -> None:
        super()._give_up(message)
        self._exactness.regain()


class KeepsWhatIsBehindAHole(Subscriber):
    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(settings)
        self._ledger.keep_last_run = lambda: None  # type: ignore[method-assign]


class ReleasesAsItCame(Subscriber):
    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(settings)
        self._ledger.release = self._as_it_came  # type: ignore[method-assign]

    def _as_it_came(self) -> Iterator[Message]:
        held, self._ledger._held = self._ledger._held, {}
        yield from (message for message in held.values() if message.seq > self._ledger.applied)


class NeverTriesAgain(Subscriber):
    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(settings)
        self._exactness.schedule_retry = lambda now_s: None  # type: ignore[method-assign] # noqa: ARG005


class RebuildsWithoutPurging(Subscriber):
    def _start_over(self, message: Message | None) -> None:
        super()._start_over(message)
        self._effects = without_purges(self._effects)


class DropsWhatWasHeldBack(Subscriber):
    def _catch_up(self, message: Message | None) -> None:
        self._ledger.applied = max(self._ledger._held, default=self._ledger.applied)
        self._ledger._held.clear()
        super()._catch_up(message)


class StaysExactAfterPoison(Subscriber):
    def _degrade(self, reason: str) -> None:
        if "cannot be read" not in reason:
            super()._degrade(reason)


class IgnoresClaims(Subscriber):
    def published(self, seq: int, now_s: float) -> tuple[Effect, ...]:  # noqa: ARG002
        return self.tick(now_s)


class AsksOnce(Subscriber):
    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(settings)
        self._inquiry._tries_limit = 1


class CountsTriesForEver(Subscriber):
    """An answer that was complete does not make it start counting again."""

    def _judge_answer(self, now_s: float, *, ended: bool) -> tuple[Effect, ...]:
        tries = self._inquiry._tries
        effects = super()._judge_answer(now_s, ended=ended)
        self._inquiry._tries = max(tries, self._inquiry._tries)
        return effects


class WaitsForABatchFromNobody(Subscriber):
    """An empty ring does not end the retries."""

    def _judge_retry(self, now_s: float, *, ended: bool) -> tuple[Effect, ...]:
        return super()._judge_retry(now_s, ended=ended and self._inquiry.first_answered is not None)


class MixesLives(Subscriber):
    """What was held back may fill what an answer does not bring, though it can be of another life."""

    def _ask_from(self, start_seq: int, *, same_life: bool) -> None:
        super()._ask_from(start_seq, same_life=same_life)
        self._inquiry._must_bring = -1


class KeepsWhatWasHeldOverADisconnect(Subscriber):
    def _forget(self, _message: Message | None) -> None:
        self._retrying = False


class WritesNothingOff(Subscriber):
    """What it gives up is in no book."""

    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(settings)
        self._ledger.write_off = lambda: None  # type: ignore[method-assign]


class CountsWhatItCannotRead(Subscriber):
    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(settings)
        self._ledger.write_off_last = lambda: None  # type: ignore[method-assign]


class NeverSupersedes(Subscriber):
    def __init__(self, settings: SubscriberSettings) -> None:
        super().__init__(settings)
        self._ledger.supersede = lambda: None  # type: ignore[method-assign]


CAUGHT_BY = {
    Property.EXACT_IS_EQUAL: (
        AppliesLiveDuringReplay, AsksFromTheNextNumber, DropsWhatWasHeldBack, KeepsTheIndexOnRestart,
        KeepsWhatIsBehindAHole, NeverSeesARestart, StaysExactAfterGivingUp, StaysExactAfterPoison,
        StepsOverGaps, TakesTheMarkerForComplete,
    ),
    Property.DEGRADED_IS_LESS: (
        AppliesRepeats, AppliesWhatItConfirms, GivesUpWithoutPurging, KeepsWhatIsBehindAHole, StepsOverGaps,
    ),
    Property.ONCE_IN_ORDER: (
        AppliesRepeats, AppliesWhatItConfirms, GivesUpWithoutPurging, KeepsTheIndexOnRestart,
        RebuildsWithoutPurging,
    ),
    Property.SETTLES: (
        AsksOnce, CountsTriesForEver, DropsWhatWasHeldBack, IgnoresClaims, KeepsWhatWasHeldOverADisconnect,
        NeverSeesARestart, NeverTriesAgain, WaitsForABatchFromNobody,
    ),
    Property.BOOKS_CLOSE: (
        AppliesLiveDuringReplay, AppliesRepeats, AppliesWhatItConfirms, CountsWhatItCannotRead,
        DropsWhatWasHeldBack, NeverSupersedes, StepsOverGaps, TakesTheMarkerForComplete, WritesNothingOff,
    ),
}  # fmt: skip
HUNT_WALKS = 1_500


@pytest.mark.parametrize(
    ("what", "broken"),
    [(what, broken) for what, copies in CAUGHT_BY.items() for broken in copies],
    ids=lambda one: one.name if isinstance(one, Property) else one.__name__,
)
def test_a_property_alone_catches_a_broken_subscriber(what: Property, broken: type[Subscriber]) -> None:
    def hunt() -> None:
        for seed in range(HUNT_WALKS):
            walk(World(broken, frozenset({what})), seed)

    with pytest.raises(AssertionError, match=what):
        hunt()


# --- walks that once failed, as short as they get --------------------------------------


class Walk(NamedTuple):
    """What happened; the copy of the subscriber that still has the mistake fails it."""

    broken: type[Subscriber]
    silent: bool
    moves: str


ONCE_FAILED = {
    "tries before a complete answer count no longer": Walk(
        CountsTriesForEver,
        silent=False,
        moves="stay_silent:0 stay_silent:0 answer_wholly:0 deliver_answer:0 stay_silent:0",
    ),
    "a retry that finds an empty ring has found out everything": Walk(
        WaitsForABatchFromNobody, silent=True, moves="stay_silent:0 stay_silent:0 answer_partly:0"
    ),
    "a restart behind a half-open connection, with nothing applied but something held back": Walk(
        MixesLives,
        silent=False,
        moves="clear:0 lose:0 store:0 deliver:0 restart:4 store:0 calm:0",
    ),
    "what was held back is released in the order of the numbers": Walk(
        ReleasesAsItCame,
        silent=False,
        moves="clear:0 calm:0 store:0 store:0 overtake:1 deliver:0 answer_partly:1",
    ),
}


def replay(one: Walk, subscriber: type[Subscriber]) -> None:
    world = World(subscriber)
    for move in one.moves.split():
        name, _, n = move.partition(":")
        NAMED[name].happen(world, int(n))
    world.settle(silent=one.silent)


@pytest.mark.parametrize("name", ONCE_FAILED)
def test_a_walk_that_once_failed_no_longer_does(name: str) -> None:
    replay(ONCE_FAILED[name], Subscriber)
    with pytest.raises(AssertionError):
        replay(ONCE_FAILED[name], ONCE_FAILED[name].broken)
