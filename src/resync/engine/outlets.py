"""Where an engine's batches go: over ZeroMQ, or nowhere when events are not enabled."""

from typing import Protocol

from resync.engine.kv_events_config import listening_port
from resync.engine.options import Options
from resync.kvsync.publisher import Publisher
from resync.kvsync.records import Batch
from resync.kvsync.wire import WireForm
from resync.transport.publication import Publication

Sources = dict[str, dict[str, str | None]]
"""What `GET /kv_event_sources` answers, by data-parallel rank (vLLM 0.32)."""


class Outlet(Protocol):
    """What an engine needs of a publisher."""

    publishes: bool
    sources: Sources

    def publish(self, batch: Batch) -> int:
        """Number, keep and send a batch; its sequence."""
        ...

    def close(self) -> None:
        """Let go of the sockets."""
        ...


class NoOutlet:
    """Events are not enabled: nothing leaves, nothing listens."""

    def __init__(self) -> None:
        self.publishes = False
        self.sources: Sources = {}

    def publish(self, batch: Batch) -> int:
        """A caller that did not look at `publishes`."""
        raise AssertionError(f"nobody asked for {batch}")

    def close(self) -> None:
        """There is nothing to close."""


class ZmqOutlet:
    """PUB and, when asked for, ROUTER, listening on the pod's own address."""

    def __init__(self, options: Options) -> None:
        config = options.kv_events
        publisher = Publisher(
            buffer_steps=config.buffer_steps,
            topic=config.topic.encode(),
            form=options.wire_form,
            hash_form=options.hash_form,
        )
        replay = config.replay_endpoint
        # up to vLLM 0.25 replies carried no topic; the array form stands for those versions
        topic_frame = options.wire_form is not WireForm.ARRAY
        self._publication = Publication(
            publisher, hwm=config.hwm, topic_frame=topic_frame, replay_latency_s=options.replay_latency_s
        )
        self._publication.bind(
            options.host, listening_port(config.endpoint), None if replay is None else listening_port(replay)
        )
        self.publishes = True
        self.sources: Sources = {
            "0": {
                "endpoint": f"tcp://*:{self._publication.event_port}",
                "replay_endpoint": None if replay is None else f"tcp://*:{self._publication.replay_port}",
                "topic": config.topic,
            }
        }

    def publish(self, batch: Batch) -> int:
        """Number, keep and send a batch; its sequence."""
        return self._publication.publish(batch).seq

    def close(self) -> None:
        """Let go of the sockets; what is still unsent is lost, as when vLLM's process ends."""
        self._publication.close()


def outlet_for(options: Options) -> Outlet:
    """The outlet that `options` ask for, bound. Raises what ZeroMQ raises when a port is taken."""
    return ZmqOutlet(options) if options.kv_events.publishes else NoOutlet()
