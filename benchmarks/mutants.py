"""What each deliberate defect of the gateway is expected to look like, said before it is tried."""

from dataclasses import dataclass
from enum import StrEnum


class Where(StrEnum):
    """Which engines a defect may show on."""

    ANY = "any engine"
    HIT = "the engine the fault was on"


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the run has to say: this claim broken, one of these kinds, on such an engine.

    `lab` is how the lab differs that it takes to see it, `settings` how the run does.
    """

    experiment: str
    claim: str
    kinds: tuple[str, ...]
    where: Where
    lab: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mutant:
    """A gateway with one defect: whose it was, what it does, how it is expected to be found, or why not."""

    name: str
    source: str
    does: str
    predicted: Predicted | None
    why_not: str = ""


def _delayed(
    *kinds: str, claim: str = "divergence", lab: tuple[str, ...] = (), fault_duration: str = ""
) -> Predicted:
    settings = (("RESYNC_FAULT_DURATION", fault_duration),) if fault_duration else ()
    return Predicted("network-delay", claim, kinds, Where.ANY, lab, settings)


def _cut(*kinds: str, lab: tuple[str, ...] = ()) -> Predicted:
    return Predicted("network-partition-reset", "divergence", kinds, Where.HIT, lab)


SHORT_RING = (
    "--engine-arg=--kv-events-config",
    '--engine-arg={"enable_kv_cache_events":true,"replay_endpoint":"tcp://*:5558","buffer_steps":16}',
)
"""Of what an engine says while it is cut off, its ring keeps the last second or two."""

SLOW_REPLAY = ("--engine-arg=--replay-latency-ms", "--engine-arg=700")
"""As long as vLLM took to send a whole ring: live batches arrive before the answer does."""

HELD_TWICE = ("--load-arg=--bare-share", "--load-arg=0.4", "--engine-arg=--blocks", "--engine-arg=250")
"""Prompts that end on a block boundary, and a cache small enough to let go of what they stored soon."""

NEWS = ("--engine-arg=--news-every", "--engine-arg=10")
"""An event type of a later vLLM now and then."""


RESTARTED = Predicted("pod-failure", "divergence", ("phantom",), Where.HIT)
RETURNED = Predicted("engine-pod-kill", "divergence", ("phantom",), Where.HIT)
LOST = ("missing", "phantom")
"""What is lost is stores and removals alike; the sentence names the more frequent one."""

ANYTHING = ("missing", "phantom", "misattributed", "mis-hashed")

BEHIND = ("blocks stale", "batches published and not applied")

MUTANTS = (
    Mutant(
        "replay-discarded", "AIBrix `zmq_client.go:394`",
        "reads the answer to a replay, throws it away, counts a success", _cut(*LOST),
    ),
    Mutant(
        "gap-only-counted", "AIBrix `zmq_client.go:331`, llm-d-router #1737",
        "counts a gap and goes on, asks for no replay", _cut(*LOST),
    ),
    Mutant(
        "replay-counted-twice", "llm-d-router #1887",
        "after a reconnect replays everything and applies again what it has had", _cut("phantom"),
    ),
    Mutant(
        "live-before-replay", "Mooncake #4159",
        "after a reconnect applies what is live at once, what is replayed after it",
        _cut("phantom", lab=SLOW_REPLAY),
    ),
    Mutant(
        "replay-end-trusted", "SGLang #38945",
        "takes a replay for complete because its end marker came", _cut("phantom", lab=SHORT_RING),
    ),
    Mutant(
        "restart-ignored", "AIBrix `zmq_client.go:358`",
        "applies whatever number comes, also one from the beginning", RESTARTED,
    ),
    Mutant(
        "kept-on-restart", "llm-d-router #2853",
        "notices the restart and keeps the blocks of the old life", RESTARTED,
    ),
    Mutant(
        "kept-on-return", "AIBrix `kvevent/manager.go:205`",
        "keeps the blocks of a pod that is gone for the one that comes back under its name",
        RETURNED,
    ),
    Mutant(
        "removal-for-all-pods", "AIBrix `sync_hash.go` before #2723",
        "deletes a removed block for every pod", _delayed("missing"),
    ),
    Mutant("removal-ignored", "Dynamo #11785", "keeps what is removed", _delayed("phantom")),
    Mutant(
        "unchained", "AIBrix `sync_hash.go:282`",
        "hangs every block of an event on the event's parent", _delayed("mis-hashed"),
    ),
    Mutant(
        "set-of-hashes", "vLLM #55092",
        "knows whether a block is held, not how often",
        _delayed("missing", lab=HELD_TWICE, fault_duration="12s"),
    ),
    Mutant(
        "orphan-as-root", "AIBrix `sync_hash.go:282`",
        "takes a block whose parent is unknown for the beginning of a prompt",
        _cut("mis-hashed", lab=SHORT_RING),
    ),
    Mutant(
        "maps-refused", "AIBrix `msgpack_decoder.go:70`, before #2587",
        "cannot read events that are maps, hangs up and dials again", _delayed(*BEHIND, claim="staleness"),
    ),
    Mutant(
        "poison-resets", "AIBrix #1720",
        "hangs up over one event of an unknown type, and gets it again",
        _delayed(*BEHIND, claim="staleness", lab=NEWS),
    ),
    Mutant(
        "frozen-sequence", "of our own: a thread that has died",
        "applies nothing any more, goes on answering", _delayed(*BEHIND, claim="staleness"),
    ),
    Mutant(
        "short-heartbeat", "of our own: time-outs below the round trip",
        "gives connections and replays up before a delayed answer can be there",
        _delayed(*BEHIND, claim="staleness"),
    ),
    Mutant(
        "lost-in-a-rush", "libzmq's default limit (AIBrix's own benchmark loses events by it)",
        "drops batches that come faster than it takes them, sees no gap",
        Predicted("high-load", "divergence", LOST, Where.ANY),
    ),
    Mutant(
        "silent-metrics", "AIBrix `kvcache/metrics.go` (series that are never updated)",
        "goes on applying events and shows none of them", _delayed(*BEHIND, claim="staleness"),
    ),
)  # fmt: skip

CONTROLS = (
    Mutant("healthy-delayed", "", "nothing", _delayed(*ANYTHING)),
    Mutant("healthy-cut", "", "nothing", _cut(*ANYTHING)),
    Mutant("healthy-restarted", "", "nothing", RESTARTED),
    Mutant("healthy-returned", "", "nothing", RETURNED),
    Mutant("healthy-hurried", "", "nothing", Predicted("high-load", "divergence", ANYTHING, Where.ANY)),
    Mutant("healthy-told-news", "", "nothing", _delayed(*ANYTHING, lab=NEWS)),
    Mutant("healthy-held-twice", "", "nothing", _delayed(*ANYTHING, lab=HELD_TWICE)),
    Mutant("healthy-late-replay", "", "nothing", _cut(*ANYTHING, lab=SLOW_REPLAY)),
)
"""Healthy gateways, listed as if they were defective: the table must call them missed, with verdict pass."""

SHORT_OF_RING = Mutant(
    "healthy-short-ring", "", "nothing", _cut("phantom", "misattributed", "mis-hashed", lab=SHORT_RING)
)
"""A healthy gateway that cannot know what was said: blocks are missing until they are gone, and it says so.
The run fails, and the table must call it missed all the same: nothing that it believes is untrue."""
