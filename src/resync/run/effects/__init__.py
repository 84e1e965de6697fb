"""The kinds of fault a run can prove, one small file each: `effect_of` says which belongs to which."""

from collections.abc import Mapping

from resync.run.effects.delay import Delay
from resync.run.effects.downtime import Downtime
from resync.run.effects.partition import Partition
from resync.run.effects.replacement import Replacement
from resync.run.effects.signs import Effect, FaultEffect, PodEffect, Sign
from resync.run.effects.surge import Surge
from resync.run.errors import RefusedError

__all__ = ["EFFECTS", "Effect", "FaultEffect", "PodEffect", "Sign", "effect_of"]

EFFECTS: Mapping[tuple[str, str], FaultEffect] = {
    ("NetworkChaos", "delay"): Delay(),
    ("NetworkChaos", "partition"): Partition(),
    ("NetworkChaos", "partition-reset"): Partition(),
    ("PodChaos", "pod-failure"): Downtime(),
    ("PodChaos", "pod-kill"): Replacement(),
    ("PodChaos", "pod-kill-gateway"): Replacement(),
    ("PodChaos", "container-kill"): Replacement(),
    ("Load", "surge"): Surge(),
}
"""By kind and action of the fault object."""


def effect_of(fault_kind: str, action: str) -> FaultEffect:
    """How that fault is proven. Raises RefusedError for one that nobody here can tell from its absence."""
    found = EFFECTS.get((fault_kind, action))
    if found is None:
        known = ", ".join(f"{kind} {action}" for kind, action in EFFECTS)
        raise RefusedError(
            f"the effect of a {fault_kind} {action} could not be proven by this version",
            next_step=f"use one of: {known}",
        )
    return found
