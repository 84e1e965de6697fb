"""The kinds of experiment this mesh executes. A kind is data: its form, whom it hits, what comes next."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Generic, TypeVar

from resync.lab.kube import NETWORK_CHAOS, POD_CHAOS, Resource
from resync.lab.mesh import networkfaults, podfaults
from resync.lab.mesh.networks import NetworkChaos
from resync.lab.mesh.objects import Chaos, Record
from resync.lab.mesh.podfaults import PodChaos
from resync.lab.mesh.records import Decision, Operation, World

C = TypeVar("C", bound=Chaos)


@dataclass(frozen=True, slots=True)
class Kind(Generic[C]):
    """One kind: `form` reads its objects, `select` chooses the targets once, `step` moves one of them on."""

    resource: Resource
    form: type[C]
    select: Callable[[C, World, Random], tuple[Record, ...]]
    step: Callable[[C, Record, World, Operation], Decision]


NETWORK: Final = Kind(NETWORK_CHAOS, NetworkChaos, networkfaults.select, networkfaults.step)
POD: Final = Kind(POD_CHAOS, PodChaos, podfaults.select, podfaults.step)
