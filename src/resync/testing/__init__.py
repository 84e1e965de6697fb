"""For the tests of whoever follows KV events: a publisher on real ZeroMQ that does what it is told.

with Publisher() as engine:
    follow("127.0.0.1", engine.event_port, engine.replay_port)
    engine.answer_next(answers.hole(at=1))
    engine.publish(BlockStored((1,), None, (7, 8), 2))
    engine.lose(BlockRemoved((1,)))
    engine.publish(BlockStored((2,), 1, (9, 10), 2))
"""

from resync.testing.answers import Answer
from resync.testing.publisher import Publisher

__all__ = ["Answer", "Publisher"]
