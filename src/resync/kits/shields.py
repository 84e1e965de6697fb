"""What keeps a signal handler that raises out of a question to a client.

Such a handler raises between any two steps of the main thread, also inside the client. A connection pool of
urllib3 is a `queue.LifoQueue`, whose lock a step of Python takes (`threading.Condition.__enter__`). Raised
right behind that, the lock is never given back, and urllib3, which puts the connection back on its way out,
waits for it for ever (measured with urllib3 2 and Python 3.11: once in about 900 signals). And what is raised
while a response is disposed of is lost, like everything that a finalizer raises.

So who talks to a client does it inside a `Shield`; a signal that comes meanwhile is raised at its end.
Questions are short and limited, and the waits between them stay outside.
"""

import contextlib
from collections.abc import Callable

Shield = Callable[[], contextlib.AbstractContextManager[None]]
"""Makes a stretch of code that no signal cuts."""

UNSHIELDED: Shield = contextlib.nullcontext
"""For who has no handler that raises, or nothing to do after it."""
