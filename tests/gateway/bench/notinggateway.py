"""The gateway as it is, and beside it a line on stderr for every instant that a scrape only brackets."""

import json
import sys
import time

from resync.gateway import __main__ as gateway
from resync.gateway import flaws
from resync.gateway.parts import Parts
from resync.kvsync.effects import Effect
from resync.kvsync.records import Message
from resync.kvsync.source import Source
from resync.kvsync.subscriber import Subscriber
from resync.kvsync.transitions import Input
from resync.transport.subscription import Handler, Subscription, TransportSettings


class Noting(Subscriber):
    """Says when what it counts has changed: in the same turn of the loop in which a page could show it."""

    pod_key = ""

    def _take(self, what: Input, now_s: float, message: Message | None = None) -> tuple[Effect, ...]:
        before = self._seen()
        effects = super()._take(what, now_s, message)
        at_s = time.time()
        changed = [name for name, value in self._seen().items() if value != before[name]]
        changed += ["noticed"] if what is Input.DISCONNECTED else []
        changed += ["replay-complete"] if what in {Input.ANSWER_COMPLETE, Input.ANSWER_UNCONFIRMED} else []
        for name in changed:
            note = {"pod": self.pod_key, "what": name, "at": at_s, **self._seen()}
            sys.stderr.write(f"NOTE {json.dumps(note)}\n")
        return effects

    def _seen(self) -> dict[str, int]:
        now = self.statistics()
        return {"replay-asked": now.replays_asked, "converged": now.applied_seq, "exact": int(now.exact)}


def noting(source: Source, handler: Handler, settings: TransportSettings) -> Subscription:
    machine = Noting(settings.subscriber)
    machine.pod_key = source.pod_key
    return Subscription(source, handler, settings, subscriber=machine)


if __name__ == "__main__":
    flaws.parts_for = lambda _text, _clock: Parts(subscription=noting)  # type: ignore[assignment]
    gateway.main()
