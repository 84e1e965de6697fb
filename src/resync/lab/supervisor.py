"""The process that is a lab: it starts every part, waits until all of it works, and ends all of it.

                                  supervisor (link, node and mesh run inside)
                                  |-- Prometheus, before everything else: its first sample takes 5 s
                                  |-- Kubernetes API
                                  `-- one process per pod, by way of the node

Every child is tied to this process by the kernel, so a lab that is killed leaves nothing behind.
"""

import os
import secrets
from collections.abc import Callable

from resync.lab import addresses, state
from resync.lab.beginnings import begun
from resync.lab.errors import LabStartError
from resync.lab.manifests import PORTS
from resync.lab.monitoring import PORT
from resync.lab.orders import Order
from resync.lab.prometheus import PrometheusError
from resync.lab.state import LabState

MARKER = "RESYNC_LAB"
"""Every process of a lab carries this variable, with a value of the lab's own."""


def supervise(order: Order, announce: Callable[[LabState], None]) -> None:
    """Be a lab until it is asked to end. `announce` is called once, when it is ready.

    Raises:
        LabError: it did not come up, or a part ended that a lab cannot be without; everything is torn down.
    """
    os.environ[MARKER] = secrets.token_hex(8)
    try:
        with (
            state.held(order.path),
            addresses.claimed([*PORTS, PORT]) as block,
            begun(order, block) as beginning,
        ):
            # Imported here: it brings half the lab with it, and Prometheus' first seconds run meanwhile.
            from resync.lab import lives

            lives.live(beginning, announce)
    except (PrometheusError, OSError) as error:
        raise LabStartError(str(error)) from error
