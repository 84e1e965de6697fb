"""All controllers on one connection and one set of watches."""

import asyncio
from pathlib import Path

from resync.kits.clocks import Clock
from resync.lab.controllers.deployments import Deployments
from resync.lab.controllers.garbage import Garbage
from resync.lab.controllers.namespaces import Namespaces
from resync.lab.controllers.replicasets import ReplicaSets
from resync.lab.controllers.statefulsets import StatefulSets
from resync.lab.controllers.telling import Teller
from resync.lab.controllers.watching import Watches
from resync.lab.controllers.working import work
from resync.lab.kube import Kube


async def run_controllers(kubeconfig: Path, *, clock: Clock) -> None:
    """Run them until cancelled. Raises KubeconfigError when they cannot even begin."""
    async with Kube.connect(kubeconfig) as kube, asyncio.TaskGroup() as tasks:
        watches = Watches(kube)
        teller = Teller(kube, clock)
        for controller in (
            Deployments(kube, teller, clock),
            ReplicaSets(kube, teller, clock),
            StatefulSets(kube, teller, clock),
            Garbage(kube, watches),
            Namespaces(kube, watches),
        ):
            watches.listeners.append(controller.see)
            tasks.create_task(work(controller), name=f"controller: {type(controller).__name__}")
        await watches.run()
