"""What is asserted while a fault of a kind stands, and after it: for which engines each claim holds.

A fault is allowed to do what it is there for. Under a partition the engine that is cut off is late without
bound, and nothing is wrong with that; the engines beside it have no excuse. So each kind of fault has a row:
which claims are judged in which phase, and whether of every engine or only of the untouched ones. Before the
fault and after everything has converged all claims hold of every engine.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from resync.run.observations import Phase


class Scope(StrEnum):
    """Which engines a claim is judged for."""

    EVERY = "every engine"
    UNTOUCHED = "the engines outside the fault"
    TOUCHED = "the engines the fault was on"


class Pods(StrEnum):
    """What may have become of a pod the fault was on."""

    SAME = "neither restarted nor replaced"
    RESTARTED = "restarted in place"
    REPLACED = "replaced by a pod of the same name"


Asserted = Mapping[str, Scope]

STEADY: Asserted = dict.fromkeys(("event-age", "divergence", "staleness", "routed-hits"), Scope.EVERY)
BASELINE: Asserted = {**STEADY, "gaps": Scope.EVERY}
RECOVERED: Asserted = dict.fromkeys(("divergence", "gaps", "converged"), Scope.EVERY)
CUT_OFF: Asserted = {
    "event-age": Scope.UNTOUCHED,
    "staleness": Scope.UNTOUCHED,
    "divergence": Scope.EVERY,
}


def proven_on(touched: AbstractSet[str], engines: Sequence[str]) -> tuple[str, ...]:
    """The pods whose effect has to be proven: the engines a fault is on, or where it is on none, its pods."""
    return tuple(pod for pod in engines if pod in touched) or tuple(sorted(touched))


@dataclass(frozen=True, slots=True)
class Profile:
    """The row of one kind of fault."""

    fault: Asserted
    recovery: Asserted
    pods: Pods = Pods.SAME
    slows_events: bool = False
    """Whether the delay of the settings is part of an event's age while it stands."""

    heals_late: bool = False
    """Whether what was held up comes only at the next retransmission: as long again as the fault stood."""

    blind_s: float = 0.0
    """How long an engine may have stopped answering before Kubernetes says that it is not ready: meanwhile it
    cannot be told whether it is gone, and no cut is taken."""

    one_shot: bool = False
    """Whether it happens once: nothing stands, nothing is taken away, and it is over when it has happened."""

    def late_s(self, stood_s: float, restart_limit_s: float) -> float:
        """How much later than after a fault that ends at once everything may be as before."""
        waits = stood_s if self.heals_late else 0.0
        return waits + (0.0 if self.pods is Pods.SAME else restart_limit_s)

    def asserted(self, phase: Phase) -> Asserted:
        """The claims of that phase, each with the engines it is judged for."""
        rows: Mapping[Phase, Asserted] = {
            "baseline": BASELINE,
            "fault": self.fault,
            "recovery": self.recovery,
            "after": STEADY,
        }
        return rows.get(phase, {})


KILLED: Asserted = {
    **dict.fromkeys(("event-age", "staleness", "divergence"), Scope.UNTOUCHED),
    "avoided": Scope.TOUCHED,
}
BACK: Asserted = {
    "returned": Scope.TOUCHED,
    "divergence": Scope.UNTOUCHED,
    "gaps": Scope.UNTOUCHED,
    **dict.fromkeys(("converged", "ledger"), Scope.EVERY),
}

DELAY = Profile(fault=STEADY, recovery=RECOVERED, slows_events=True)

PROFILES: Mapping[tuple[str, str], Profile] = {
    ("NetworkChaos", "delay"): DELAY,
    ("NetworkChaos", "partition"): Profile(fault=CUT_OFF, recovery=RECOVERED, heals_late=True),
    ("NetworkChaos", "partition-reset"): Profile(
        fault=CUT_OFF,
        recovery={**RECOVERED, "replays": Scope.TOUCHED, "ledger": Scope.EVERY},
        heals_late=True,
    ),
    ("Load", "surge"): Profile(
        fault={**STEADY, **dict.fromkeys(("throughput", "apply-latency", "request-errors"), Scope.EVERY)},
        recovery=RECOVERED,
    ),
    ("PodChaos", "pod-failure"): Profile(
        fault=dict.fromkeys(("event-age", "staleness", "divergence"), Scope.UNTOUCHED),
        recovery={
            "divergence": Scope.UNTOUCHED,
            **dict.fromkeys(("gaps", "converged", "ledger"), Scope.EVERY),
        },
        pods=Pods.RESTARTED,
        blind_s=4.0,
    ),
    ("PodChaos", "pod-kill"): Profile(
        fault=KILLED, recovery=BACK, pods=Pods.REPLACED, blind_s=4.0, one_shot=True
    ),
    ("PodChaos", "container-kill"): Profile(
        fault=KILLED, recovery=BACK, pods=Pods.RESTARTED, blind_s=4.0, one_shot=True
    ),
    ("PodChaos", "pod-kill-gateway"): Profile(
        fault={"divergence": Scope.EVERY},
        recovery=dict.fromkeys(("returned", "divergence", "replays", "converged"), Scope.EVERY),
        pods=Pods.REPLACED,
        blind_s=4.0,
        one_shot=True,
    ),
}
"""By kind and action of the fault object."""
