"""The replay that was asked for, and what its answer is worth.

An answer's end marker proves nothing: vLLM's ROUTER drops for a full peer, and a start that the ring has
lost, or that a restarted engine has not reached, is answered with less or with the marker alone (vLLM
`kv_events.py`; SGLang #38945). Three things are asked of an answer instead. Does it continue what we have: it
begins with the batch that we know, and that one is unchanged. Is it complete: contiguous up to the highest
number known. With nothing to begin with, it has to bring what was held back as well: that can be of another
life. Is it young enough: the first complete answer after a connect can have left before the subscription took
effect, so a second one has to bring no news.
"""

from typing import Final

from resync.kvsync.ledger import NOTHING, Ledger
from resync.kvsync.records import Message
from resync.kvsync.transitions import Input

JOINING_ANSWERS_MIN: Final = 2
"""Complete answers wanted after a connect."""


class Inquiry:
    """The latest request and what has come of it. `tries_limit` bounds the requests for the same batches."""

    def __init__(self, tries_limit: int) -> None:
        self._tries_limit = tries_limit
        self._tries = 0
        self._applied_when_asked = NOTHING
        self._must_bring = NOTHING
        self._answered_to = NOTHING
        self._brought_news = False
        self._joining = False
        self._joining_answers = 0
        self.same_life = True
        self.first_answered: int | None = None

    def join(self) -> None:
        """The connection is new: what comes first may be older than it."""
        self._tries = 0
        self._joining = True
        self._joining_answers = 0

    def about_another_hole(self) -> None:
        """The tries so far were about other batches."""
        self._tries = 0

    def ask(self, ledger: Ledger, *, same_life: bool) -> None:
        """A request has left; `same_life` says that its answer needs no proof of whose it is."""
        self._applied_when_asked = ledger.applied
        if same_life or self._joining:  # nothing ties what is held back to what is applied
            self._must_bring = ledger.highest_known
        self._answered_to = NOTHING
        self._brought_news = False
        self.same_life = same_life
        self.first_answered = None

    def hear(self, message: Message, ledger: Ledger) -> None:
        """One message of the answer."""
        if self.first_answered is None:
            self.first_answered = message.seq
            self._answered_to = message.seq - 1
        if message.seq == self._answered_to + 1:
            self._answered_to = message.seq
        self._brought_news |= ledger.is_news(message.seq)

    def judge(self, ledger: Ledger, *, ended: bool) -> Input:
        """What the answer was; `ended` says that its end marker came."""
        whole = self._answered_to >= self._must_bring and ledger.reach() >= ledger.highest_known
        if ended and self.same_life and whole:
            return self._judge_complete()
        return self._judge_incomplete(ledger, ended=ended)

    def _judge_complete(self) -> Input:
        self._tries = 0
        self._joining_answers += self._joining
        settled = self._joining_answers >= JOINING_ANSWERS_MIN and not self._brought_news
        if self._joining and not settled and self._joining_answers < self._tries_limit:
            return Input.ANSWER_UNCONFIRMED
        self._joining = False
        return Input.ANSWER_COMPLETE

    def _judge_incomplete(self, ledger: Ledger, *, ended: bool) -> Input:
        if ledger.applied > self._applied_when_asked:
            self._tries = 0  # it brought something: a long replay over a full pipe comes in pieces
        self._tries += 1
        if self._tries < self._tries_limit:
            return Input.ANSWER_INCOMPLETE
        if ended and self.first_answered is None and ledger.applied != NOTHING:
            return Input.ANSWER_EMPTY
        self._joining = False
        return Input.ANSWER_EXHAUSTED

    def why_incomplete(self, ledger: Ledger) -> str:
        """A sentence for whoever reads why the source is degraded."""
        wanted, first = ledger.applied + 1, self.first_answered
        if first is None:
            return f"no answer to {self._tries} requests for batches from {wanted} on"
        if first > wanted:
            return f"batches {wanted} to {first - 1} are no longer in the publisher's ring"
        return f"batches {wanted} to {ledger.highest_known} came incomplete {self._tries} times"

    def begins_early_enough(self, ledger: Ledger) -> bool:
        """Whether the ring still had what was wanted, as far as the answer tells."""
        return self.first_answered is None or self.first_answered <= ledger.applied + 1
