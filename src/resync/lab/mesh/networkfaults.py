"""NetworkChaos: what a record of it needs next, by way of the pod's network object. Pure.

`Wait` lasts until the node has seen that object in the generation which holds our wish (chaos-mesh
`controllers/chaosimpl/networkchaos/{trafficcontrol,partition}/impl.go`).
"""

from random import Random
from typing import Final

from resync.lab.mesh.errors import MeshError
from resync.lab.mesh.networks import NetworkChaos
from resync.lab.mesh.objects import INJECTED_WAIT, NOT_INJECTED, NOT_INJECTED_WAIT, Record
from resync.lab.mesh.partitioning import cut
from resync.lab.mesh.peers import choices
from resync.lab.mesh.records import (
    Become,
    Commit,
    Decision,
    Fail,
    Operation,
    Stay,
    World,
    arrived,
    missing,
)
from resync.lab.mesh.selecting import choose
from resync.lab.mesh.shaping import shaped

_SHARES: Final = {"partition": cut}
"""Who says what an action wants of a pod; the others are all traffic control."""


def select(chaos: NetworkChaos, world: World, dice: Random) -> tuple[Record, ...]:
    """The targets, chosen once. Raises NothingSelectedError if any selection is empty, SelectorError."""
    pods = list(world.pods.values())
    found = {
        key: choose(choice, chaos.metadata.namespace, pods, world.opted_in, dice)
        for key, choice in choices(chaos).items()
    }
    return tuple(
        Record(id=pod.metadata.key, selector_key=key) for key, chosen in found.items() for pod in chosen
    )


def step(chaos: NetworkChaos, record: Record, world: World, operation: Operation) -> Decision:
    """What this record needs next to get on with the operation."""
    if record.phase in (NOT_INJECTED_WAIT, INJECTED_WAIT):
        return _look(chaos, record, world, operation)
    return _apply(chaos, record, world) if operation is Operation.APPLY else _recover(record, world)


def _look(chaos: NetworkChaos, record: Record, world: World, operation: Operation) -> Decision:
    """Has the node seen our wish?"""
    network = world.networks.get(record.id)
    if network is None:
        return Become(operation, NOT_INJECTED)
    if network.status.observed_generation < chaos.status.instances.get(record.id, 0):
        return Stay()
    if network.status.failed_message:
        return Fail(operation, record.phase, network.status.failed_message)
    return arrived(operation)


def _apply(chaos: NetworkChaos, record: Record, world: World) -> Decision:
    pod = world.pods.get(record.id)
    try:
        share = _SHARES.get(chaos.spec.action, shaped)(chaos, record, world.pods)
    except (MeshError, ValueError) as error:
        return Fail(Operation.APPLY, NOT_INJECTED, str(error))
    if share is None:
        return arrived(Operation.APPLY)
    if pod is None:
        return missing(Operation.APPLY, record)
    if pod.status.phase != "Running" or pod.spec.host_network:
        return Fail(Operation.APPLY, NOT_INJECTED, "pod not running")
    return Commit(Operation.APPLY, pod, share, chaos.resets)


def _recover(record: Record, world: World) -> Decision:
    pod = world.pods.get(record.id)
    if pod is None or pod.status.phase != "Running":
        return arrived(Operation.RECOVER)
    return Commit(Operation.RECOVER, pod, None)
