"""`--kv-events-config`: vLLM's keys and defaults, and a sentence for what would not work as written.

Source: vLLM `vllm/config/kv_events.py` and `ZmqEventPublisher`. Two differences. An endpoint that vLLM would
*connect* (no `*`) is refused here, because a gateway that connects too then hears nothing. `max_queue_size`
is taken and has no effect: batches go from the step straight to the socket, there is no queue between.
"""

import re

import msgspec

from resync.engine.errors import OptionsError

_LISTENING = re.compile(r"tcp://\*:(\d{1,5})")
_PORT_MAX = 65_535


class KvEventsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an engine publishes; the defaults are vLLM's for a key that is left out."""

    enable_kv_cache_events: bool = False
    publisher: str | None = None
    endpoint: str = "tcp://*:5557"
    replay_endpoint: str | None = None
    buffer_steps: int = 10_000
    hwm: int = 100_000
    max_queue_size: int = 100_000
    topic: str = ""

    @property
    def publishes(self) -> bool:
        """Events leave over ZeroMQ (vLLM >= 0.11.2: publisher "zmq" follows from enabling)."""
        return self.enable_kv_cache_events and self.publisher in {None, "zmq"}


LAB_DEFAULT = KvEventsConfig(enable_kv_cache_events=True, replay_endpoint="tcp://*:5558")
"""Without the option an engine of the lab publishes and answers replay: that is what it is for."""


def parse(text: str) -> KvEventsConfig:
    """The configuration written in `text` (JSON). Raises OptionsError with a sentence."""
    try:
        config = msgspec.json.decode(text, type=KvEventsConfig)
    except msgspec.DecodeError as error:
        known = ", ".join(KvEventsConfig.__struct_fields__)
        raise OptionsError(f"--kv-events-config: {error}. Known keys: {known}") from error
    if config.publisher not in {None, "null", "zmq"}:
        raise OptionsError(f'--kv-events-config: publisher is "null" or "zmq", not "{config.publisher}"')
    for name in ("buffer_steps", "hwm", "max_queue_size"):
        if getattr(config, name) < 1:
            raise OptionsError(f"--kv-events-config: {name} must be at least 1")
    listening_port(config.endpoint)
    if config.replay_endpoint is not None:
        listening_port(config.replay_endpoint)
    return config


def listening_port(endpoint: str) -> int:
    """The port of `tcp://*:PORT`; 0 means any free one. Raises OptionsError for every other form."""
    match = _LISTENING.fullmatch(endpoint)
    if match is None or int(match[1]) > _PORT_MAX:
        raise OptionsError(
            f"--kv-events-config: {endpoint} does not listen (vLLM would connect to it): use tcp://*:PORT"
        )
    return int(match[1])
