"""Which pods to subscribe to, as pure functions: pods in, changes out.

The gate is AIBrix' (`pkg/kvevent/manager.go`, `OnPodAdd`): the label that turns KV events on, phase
Running, an IP, a model name; readiness is not asked for. What AIBrix gets wrong is what happens afterwards:
an IP change, a removed label, a failed phase, a restarted container or a new pod under an old name must not
only end the subscription but take the pod's entries out of the index. Here that follows from one comparison:
whatever differs between the source that is subscribed and the source that is wanted ends the old one, entries
included, and starts the new one. The list of pods is always whole, so that a deletion nobody reported (a
watch that was cut) is seen as well.

A pod with several data-parallel ranks is as many sources (`ranks`); AIBrix follows rank 0 alone. Nobody
publishes how many there are, nor where replays are answered, which then cannot be the usual port: two labels
of our own say so.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from resync.kvsync.handlers import NO_LORA
from resync.kvsync.ranks import PORT_MAX, of_ranks
from resync.kvsync.source import EVENT_PORT, REPLAY_PORT, Source

LABEL_ENABLED: Final = "model.aibrix.ai/kv-events-enabled"
LABEL_MODEL: Final = "model.aibrix.ai/name"
LABEL_LORA: Final = "model.aibrix.ai/lora-id"
LABEL_RANKS: Final = "resync.dev/data-parallel-size"
LABEL_REPLAY_PORT: Final = "resync.dev/replay-port"


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
        _replay_port(pod.labels) or settings.replay_port,
        pod.uid,
        model,
        pod.restarts,
        _lora_id(pod),
    )


def _lora_id(pod: PodFacts) -> int:
    """What is no number means the base model, as AIBrix takes it."""
    said = pod.labels.get(LABEL_LORA, "")
    return int(said) if said.isdecimal() else NO_LORA


def _replay_port(labels: Mapping[str, str]) -> int:
    """0 where they say no port."""
    port = _number(labels.get(LABEL_REPLAY_PORT, ""))
    return port if port <= PORT_MAX else 0


def ranks_of(labels: Mapping[str, str]) -> int:
    """How many data-parallel ranks a pod with these labels has; 0 where they say no positive number."""
    return _number(labels.get(LABEL_RANKS, "1"))


def _number(said: str) -> int:
    return int(said) if said.isdecimal() else 0


def wanted(pod: PodFacts, settings: FleetSettings = DEFAULTS) -> tuple[Source, ...]:
    """The sources that `pod` should be subscribed to as, one for each rank; none when it should not be.

    Where its labels make no sense, rank 0 alone; `mistake` says why.
    """
    server = _subscribed(pod, settings)
    if server is None:
        return ()
    try:
        return _with_ranks(server, pod.labels)
    except ValueError:
        return (server,)


def mistake(pod: PodFacts, settings: FleetSettings = DEFAULTS) -> str:
    """What whoever labelled a wanted pod got wrong, and what follows; empty when nothing is."""
    server = _subscribed(pod, settings)
    if server is None:
        return ""
    try:
        _with_ranks(server, pod.labels)
    except ValueError as reason:
        labels = f"{LABEL_RANKS} and {LABEL_REPLAY_PORT}"
        return f"{reason}, and correct its labels {labels}: until then only its rank 0 is followed"
    return ""


def _subscribed(pod: PodFacts, settings: FleetSettings) -> Source | None:
    enabled = settings.kv_sync and pod.labels.get(settings.label_enabled) == "true"
    return engine(pod, settings) if enabled else None


def _with_ranks(server: Source, labels: Mapping[str, str]) -> tuple[Source, ...]:
    """Raises ValueError, with what to do at its end, where the labels make no sense."""
    size = ranks_of(labels)
    if not size:
        raise ValueError(f"{server.pod_key} has {labels[LABEL_RANKS]!r} ranks. Count them")
    if LABEL_REPLAY_PORT in labels and not _replay_port(labels):
        raise ValueError(f"{server.pod_key} has replay port {labels[LABEL_REPLAY_PORT]!r}. Look it up")
    return of_ranks(server, size)


def changes(
    current: Mapping[str, Source], pods: Iterable[PodFacts], settings: FleetSettings = DEFAULTS
) -> Changes:
    """How to get from the subscriptions `current` (by pod key) to those wanted for `pods`, all there are."""
    return difference(current, (source for pod in pods for source in wanted(pod, settings)))


def difference(current: Mapping[str, Source], target: Iterable[Source]) -> Changes:
    """How to get from `current` (by pod key) to exactly `target`."""
    sources = {source.pod_key: source for source in target}
    ended = tuple(key for key, source in current.items() if sources.get(key) != source)
    started = tuple(source for key, source in sources.items() if current.get(key) != source)
    return Changes(ended, started)
