"""How a controller works: changes put keys into its queue, one pass at a time looks at what is there now."""

import logging
from typing import Never, Protocol

import msgspec

from resync.lab.kube import Change, ConflictError, KubeError, NotFoundError, Resource
from resync.lab.queueing import Key, WorkQueue

log = logging.getLogger(__name__)


class Controller(Protocol):
    """What `work` needs of one."""

    queue: WorkQueue

    def see(self, resource: Resource, change: Change) -> None:
        """Queue the keys for which this change may mean work."""
        ...

    async def reconcile(self, key: Key) -> None:
        """Bring the object of that key a step nearer to what it asks for. Raises KubeError."""
        ...


async def work(controller: Controller) -> Never:
    """Reconcile keys until cancelled; one that failed comes again after a growing pause."""
    queue = controller.queue
    while True:
        key = await queue.get()
        try:
            await controller.reconcile(key)
        except (ConflictError, NotFoundError):
            queue.failed(key)  # somebody was faster: look again
        except msgspec.ValidationError as error:
            log.error("%s %s is not what it should be: %s", type(controller).__name__, "/".join(key), error)  # noqa: TRY400  a user's mistake
        except KubeError as error:
            log.warning("%s %s: %s", type(controller).__name__, "/".join(key), error)
            queue.failed(key)
        else:
            queue.succeeded(key)
