"""Where an engine's batches go: over ZeroMQ, or nowhere when events are not enabled."""

from contextlib import AsyncExitStack
from typing import Protocol

from resync.engine.kv_events_config import listening_port
from resync.engine.options import Options
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import Batch
from resync.transport.publication import Publication

Sources = dict[str, dict[str, str | None]]


class Outlet(Protocol):
    """What the stepper needs of a publisher."""

    @property
    def publishes(self) -> bool:
        """Whether batches are wanted at all."""
        ...

    @property
    def sources(self) -> Sources:
        """What `GET /kv_event_sources` answers, per data-parallel rank (vLLM 0.32)."""
        ...

    def publish(self, batch: Batch) -> int:
        """Number, keep and send a batch; its sequence."""
        ...


class NoOutlet:
    """Events are not enabled: nothing leaves, nothing listens."""

    publishes = False
    sources: Sources = {}  # noqa: RUF012 - never filled

    def publish(self, batch: Batch) -> int:
        """Never called."""
        raise AssertionError(f"no outlet for {batch}")


class ZmqOutlet:
    """PUB and, when asked for, ROUTER sockets on the pod's own address."""

    publishes = True

    def __init__(self, publication: Publication, sources: Sources) -> None:
        self._publication = publication
        self.sources = sources

    def publish(self, batch: Batch) -> int:
        """Number, keep and send a batch; its sequence."""
        return self._publication.publish(batch).seq


async def open_outlet(options: Options, stack: AsyncExitStack) -> Outlet:
    """The outlet that `options` ask for, closed by `stack`. Raises OSError or ZMQError when a port is taken."""
    config = options.kv_events
    if not config.publishes:
        return NoOutlet()
    publisher = Publisher(
        buffer_steps=config.buffer_steps,
        topic=config.topic.encode(),
        form=options.wire_form,
        hash_form=options.hash_form,
    )
    publication = Publication(publisher, hwm=config.hwm)
    publication.bind(options.host, listening_port(config.endpoint), listening_port(config.replay_endpoint))
    return ZmqOutlet(publication, {})
