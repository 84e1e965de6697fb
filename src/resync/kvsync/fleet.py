"""Which pods to subscribe to, as pure functions: pods in, changes out.

The gate is AIBrix' (`pkg/kvevent/manager.go`, `OnPodAdd`): the label that turns KV events on, phase
Running, an IP, a model name; readiness is not asked for. What AIBrix gets wrong is what happens afterwards:
an IP change, a removed label, a failed phase, a restarted container or a new pod under an old name must not
only end the subscription but take the pod's entries out of the index. Here that follows from one comparison:
whatever differs between the source that is subscribed and the source that is wanted ends the old one, entries
included, and starts the new one. The list of pods is always whole, so that a deletion nobody reported (a
watch that was cut) is seen as well.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from resync.kvsync.handlers import NO_LORA

LABEL_ENABLED: Final = "model.aibrix.ai/kv-events-enabled"
LABEL_MODEL: Final = "model.aibrix.ai/name"
LABEL_LORA: Final = "model.aibrix.ai/lora-id"
EVENT_PORT: Final = 5557
REPLAY_PORT: Final = 5558


class PodFacts(msgspec.Struct, frozen=True):
    """What the decision needs to know of a pod; `pod_key` is namespace/name."""

    pod_key: str
    uid: str
    ip: str | None
    phase: str
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    deleting: bool = False
    restarts: int = 0


class Source(msgspec.Struct, frozen=True):
    """One publisher to subscribe to; `lora_id` is the adapter that the whole pod serves.

    Another `uid` is another source, even at the same address, and so is another number of `restarts`: a new
    process holds nothing of the old one's, and need not say a word before its first request.
    """

    pod_key: str
    host: str
    event_port: int = EVENT_PORT
    replay_port: int = REPLAY_PORT
    uid: str = ""
    model: str = ""
    restarts: int = 0
    lora_id: int = NO_LORA


class FleetSettings(msgspec.Struct, frozen=True):
    """Whether there is anything to subscribe for, the ports to dial and the names of the gate."""

    kv_sync: bool = True
    event_port: int = EVENT_PORT
    replay_port: int = REPLAY_PORT
    label_enabled: str = LABEL_ENABLED
    label_model: str = LABEL_MODEL


class Changes(msgspec.Struct, frozen=True):
    """What to do, in this order: end and purge `unsubscribe` (pod keys), then start `subscribe`."""

    unsubscribe: tuple[str, ...] = ()
    subscribe: tuple[Source, ...] = ()


DEFAULTS = FleetSettings()


def engine(pod: PodFacts, settings: FleetSettings = DEFAULTS) -> Source | None:
    """The engine that `pod` runs, whether or not it publishes: Running, with an address and a model."""
    model = pod.labels.get(settings.label_model) or pod.annotations.get(settings.label_model)
    if not (model and pod.ip and pod.phase == "Running" and not pod.deleting):
        return None
    return Source(
        pod.pod_key,
        pod.ip,
        settings.event_port,
        settings.replay_port,
        pod.uid,
        model,
        pod.restarts,
        _lora_id(pod),
    )


def _lora_id(pod: PodFacts) -> int:
    """What is no number means the base model, as AIBrix takes it."""
    said = pod.labels.get(LABEL_LORA, "")
    return int(said) if said.isdecimal() else NO_LORA


def wanted(pod: PodFacts, settings: FleetSettings = DEFAULTS) -> Source | None:
    """The source that `pod` should be subscribed to as, or None when it should not be."""
    enabled = settings.kv_sync and pod.labels.get(settings.label_enabled) == "true"
    return engine(pod, settings) if enabled else None


def changes(
    current: Mapping[str, Source], pods: Iterable[PodFacts], settings: FleetSettings = DEFAULTS
) -> Changes:
    """How to get from the subscriptions `current` (by pod key) to those wanted for `pods`, all there are."""
    return difference(current, filter(None, (wanted(pod, settings) for pod in pods)))


def difference(current: Mapping[str, Source], target: Iterable[Source]) -> Changes:
    """How to get from `current` (by pod key) to exactly `target`."""
    sources = {source.pod_key: source for source in target}
    ended = tuple(key for key, source in current.items() if sources.get(key) != source)
    started = tuple(source for key, source in sources.items() if current.get(key) != source)
    return Changes(ended, started)
