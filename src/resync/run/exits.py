"""The exit code.

Chaos Toolkit exits 0 when a control is missing, fails to import or raises; a run of ours must not.

So the code is decided in one place, an exit hook registered before anything else of the run: 2 from the
moment the control arms, and what the verdict says once there is one. The hook ends the process with
`os._exit`: an exit hook cannot change the code otherwise. Hooks registered later have run by then, standard
streams and log handlers are flushed, children of the run have been ended by the run's own last act, which
this hook calls. Processes that were killed never get here; their code is the signal's.
"""

import atexit
import logging
import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

VOID_CODE = 2

Ending = Callable[[], int]
Crash = Callable[[BaseException, str], None]


class Exit:
    """The one exit of this process: armed once, asked once."""

    def __init__(self) -> None:
        """Not armed: the process ends as it would without us."""
        self._ending: Ending | None = None
        self._crash: Crash | None = None
        self._armed = False

    def arm(self) -> None:
        """From here on the process exits 2, unless an ending decides otherwise. Idempotent."""
        if self._armed:
            return
        self._armed = True
        atexit.register(self._leave)
        self._previous_hook = sys.excepthook
        sys.excepthook = self._crashed

    def decide_with(self, ending: Ending, crash: Crash) -> None:
        """Let `ending` do the last work and name the code; `crash` is told of an exception nobody caught."""
        self._ending, self._crash = ending, crash

    def _crashed(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if self._crash is None:
            self._previous_hook(kind, error, trace)
            return
        self._crash(error, "".join(traceback.format_exception(kind, error, trace)))

    def _leave(self) -> None:
        code = VOID_CODE
        try:
            if self._ending is not None:
                code = self._ending()
        except BaseException as error:  # noqa: BLE001 - nothing may get past the exit code
            sys.stderr.write(f"resync: the run could not be ended properly: {error!r}\n")
        finally:
            _flush()
            os._exit(code)


def _flush() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # A reader that went away (`chaos run | head`) must not cost the exit code.
            continue


EXIT = Exit()
"""Of this process: there is one exit."""
