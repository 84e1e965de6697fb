"""What an engine's publisher is, without its sockets: a counter and a ring.

As vLLM's `ZmqEventPublisher`: the first batch is number 0, every batch takes the next number, the last
`buffer_steps` batches stay in a ring from which replays are answered. An evicted start is answered from
wherever the ring begins, without a word; a start ahead of the stream is answered with nothing.
"""

from collections import deque

from resync.kvsync import wire
from resync.kvsync.records import Batch, Message
from resync.kvsync.wire import Dialect, HashForm, WireForm

BUFFER_STEPS = 10_000
"""vLLM's default length of the ring, in batches."""


class Publisher:
    """Numbers batches, keeps the last of them, answers replays.

    One per engine process and data-parallel rank.
    """

    def __init__(
        self,
        *,
        buffer_steps: int = BUFFER_STEPS,
        topic: bytes = b"",
        form: WireForm | Dialect = WireForm.MAP,
        hash_form: HashForm = HashForm.INT,
    ) -> None:
        self._topic = topic
        self._form = form
        self._hash_form = hash_form
        self._next_seq = 0
        self._ring: deque[Message] = deque(maxlen=buffer_steps)

    @property
    def published_seq(self) -> int:
        """The number of the last batch published, -1 before the first."""
        return self._next_seq - 1

    def publish(self, batch: Batch) -> Message:
        """The numbered message of `batch`, which is now in the ring as well."""
        payload = wire.encode_batch(batch, self._form, self._hash_form)
        message = Message(self._topic, self._next_seq, payload)
        self._next_seq += 1
        self._ring.append(message)
        return message

    def replay(self, start_seq: int) -> tuple[Message, ...]:
        """All messages from `start_seq` on that the ring still has, oldest first; possibly none."""
        if not self._ring:
            return ()
        skip = max(0, start_seq - self._ring[0].seq)
        return tuple(list(self._ring)[skip:])
